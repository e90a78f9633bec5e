//! How many commands an account may send: a token bucket each, so that one account's flood is its own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::exchange::AccountId;
use rustc_hash::FxHashMap;

/// Parts of a token, so that refilling by the nanosecond is exact.
const TOKEN: u128 = 1_000_000_000;

/// A bucket for each account that has a key: no more, and none is made later.
#[derive(Debug)]
pub(super) struct Buckets {
    per_second: u128,
    full: u128,
    accounts: FxHashMap<AccountId, Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// In parts of a token.
    left: u128,
    at: Instant,
}

impl Buckets {
    pub(super) fn new(accounts: impl Iterator<Item = AccountId>, per_second: u32, burst: u32) -> Self {
        let (per_second, full) = (u128::from(per_second.max(1)), u128::from(burst.max(1)) * TOKEN);
        let now = Instant::now();
        let accounts = accounts.map(|account| (account, Mutex::new(Bucket { left: full, at: now }))).collect();
        Self { per_second, full, accounts }
    }

    /// Takes a token; without one, says how long the next takes.
    pub(super) fn admit(&self, account: AccountId, now: Instant) -> Result<(), Duration> {
        let Some(bucket) = self.accounts.get(&account) else { return Ok(()) };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.at).as_nanos();
        bucket.left = (bucket.left + passed.saturating_mul(self.per_second)).min(self.full);
        bucket.at = bucket.at.max(now);
        if bucket.left >= TOKEN {
            bucket.left -= TOKEN;
            return Ok(());
        }
        let nanos = (TOKEN - bucket.left).div_ceil(self.per_second);
        Err(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_account_its_own() {
        let (one, two) = (AccountId(1), AccountId(2));
        let buckets = Buckets::new([one, two].into_iter(), 50, 3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.admit(one, start), Ok(()));
        }
        let wait = buckets.admit(one, start).expect_err("the burst is used up");
        assert!(wait <= Duration::from_millis(20) && wait > Duration::ZERO, "{wait:?}");
        assert_eq!(buckets.admit(two, start), Ok(()), "another account's bucket");
        assert_eq!(buckets.admit(one, start + Duration::from_millis(20)), Ok(()));
        assert!(buckets.admit(one, start + Duration::from_millis(21)).is_err());
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..9).filter(|_| buckets.admit(one, later).is_ok()).count(), 3, "never more than the burst");
    }
}
