//! From the venues' prices to one: outliers, weights, means and medians.
//!
//! Everything is exact: a price is rounded once, half to even at 1e-8, from whole numbers. Weights enter as
//! whole numbers below 2^63 in sum; larger ones (more than 9 x 10^10 units in a window) lose low bits.

use model::{ConstituentState, PriceStatus};

use super::exact::{ONE, as_price, div_half_even, midpoint};
use crate::config::{Method, Outlier, Rules};

/// A venue that may count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Place in the index's list of members.
    pub(super) member: usize,
    /// Converted.
    pub(super) price: i64,
    /// What the price counts as: clamped, perhaps.
    pub(super) counted: i64,
    /// What the weight comes from, for display.
    pub(super) volume: i128,
    /// Weight before any cap, then as counted.
    pub(super) weight: i128,
    /// Its part of one, in units of 1e-8; written by [`share_out`].
    pub(super) share: i64,
    /// It weighs `max_venue_weight` exactly.
    capped: bool,
    /// Event time of what the price comes from.
    pub(super) newest: i64,
    pub(super) state: ConstituentState,
    /// It was excluded a short while ago and must show that it stays inside the band.
    pub(super) on_probation: bool,
    /// Its price lies apart now.
    outside: bool,
}

impl Candidate {
    pub(super) const fn new(
        member: usize,
        price: i64,
        volume: i128,
        weight: i128,
        newest: i64,
        state: ConstituentState,
    ) -> Self {
        Self {
            member,
            price,
            counted: price,
            volume,
            weight,
            share: 0,
            capped: false,
            newest,
            state,
            on_probation: false,
            outside: false,
        }
    }

    /// Whether the price comes from it too.
    pub(super) const fn counts(&self) -> bool {
        matches!(self.state, ConstituentState::Used | ConstituentState::Clamped)
    }

    /// Whether it was excluded for its price, rather than for how it was before.
    pub(super) const fn excluded_now(&self) -> bool {
        matches!(self.state, ConstituentState::Outlier) && self.outside
    }
}

/// A price and how far to trust it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Composite {
    pub(super) price: i64,
    pub(super) status: PriceStatus,
    shares: Shares,
}

/// How the venues that count share one whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shares {
    Equal,
    ByWeight,
    /// The capped have `cap` each, in units of 1e-8; the others what is left, by weight.
    Capped {
        cap: i128,
    },
}

/// Computes the price and what became of each candidate. None when no venue counts.
pub(super) fn compose(candidates: &mut [Candidate], order: &mut Vec<usize>, rules: &Rules) -> Option<Composite> {
    settle_weights(candidates);
    order.clear();
    order.extend((0..candidates.len()).filter(|at| candidates[*at].counts()));
    if order.is_empty() {
        return None;
    }
    order.sort_unstable_by_key(|at| (candidates[*at].price, *at));
    let mut method = rules.method;
    let few_agree = apply_outlier_rule(candidates, order, rules);
    if few_agree && !matches!(method, Method::CappedVwap | Method::CappedMedian) {
        method = Method::WeightedMedian;
    }
    order.retain(|at| candidates[*at].counts());
    let (price, shares) = match method {
        Method::Median => (median(candidates, order), Shares::Equal),
        Method::WeightedMedian => (weighted_median(candidates, order), Shares::ByWeight),
        Method::Vwap | Method::CappedVwap | Method::CappedMedian | Method::PartitionVwm => {
            capped_mean(candidates, order, i128::from(rules.max_venue_weight().raw()))?
        }
    };
    let agreeing = order.iter().filter(|at| candidates[**at].state == ConstituentState::Used).count();
    let status = status(order.len(), agreeing, few_agree, rules);
    Some(Composite { price, status, shares })
}

fn status(counted: usize, agreeing: usize, few_agree: bool, rules: &Rules) -> PriceStatus {
    if !few_agree && agreeing >= rules.min_venues_ok.max(rules.min_venues) as usize {
        PriceStatus::Ok
    } else if counted == 1 {
        PriceStatus::SingleSource
    } else {
        PriceStatus::Degraded
    }
}

/// Venues without weight are too thin to count, unless none has any: then all weigh the same. Weights are
/// brought below 2^63 in sum.
fn settle_weights(candidates: &mut [Candidate]) {
    let mut total: i128 = 0;
    for candidate in candidates.iter().filter(|candidate| candidate.counts()) {
        total = total.saturating_add(candidate.weight);
    }
    if total == 0 {
        candidates.iter_mut().for_each(|candidate| candidate.weight = i128::from(candidate.counts()));
        return;
    }
    let shift = (128 - total.leading_zeros()).saturating_sub(63);
    for candidate in candidates.iter_mut().filter(|candidate| candidate.counts()) {
        candidate.weight >>= shift;
        if candidate.weight == 0 {
            candidate.state = ConstituentState::Thin;
        }
    }
}

/// The price in the middle; `order` is by price and not empty.
fn median(candidates: &[Candidate], order: &[usize]) -> i64 {
    let price = |at: usize| candidates[order[at]].counted;
    let half = order.len() / 2;
    if order.len() % 2 == 1 { price(half) } else { midpoint(price(half - 1), price(half)) }
}

/// The first price at which more than half of the weight is reached; halfway to the next where it is exactly
/// half. `order` is by price and not empty.
fn weighted_median(candidates: &[Candidate], order: &[usize]) -> i64 {
    weighted_middle(order.iter().map(|at| (candidates[*at].counted, candidates[*at].weight)))
}

/// As [`weighted_median`], of prices in ascending order with their weights.
pub(super) fn weighted_middle(ascending: impl Iterator<Item = (i64, i128)> + Clone) -> i64 {
    let total: i128 = ascending.clone().map(|(_, weight)| weight).sum();
    let (mut reached, mut half_at, mut last) = (0, None, 0);
    for (price, weight) in ascending {
        if let Some(half_at) = half_at {
            return midpoint(half_at, price);
        }
        reached += weight;
        last = price;
        if reached * 2 > total {
            return price;
        }
        if reached * 2 == total {
            half_at = Some(price);
        }
    }
    last
}

/// Marks what lies apart. True when too few are left that agree: then nobody is excluded.
fn apply_outlier_rule(candidates: &mut [Candidate], order: &[usize], rules: &Rules) -> bool {
    let rule = rules.outlier();
    if rule == Outlier::Off {
        return false;
    }
    let by_count = rule == Outlier::Mad || matches!(rules.method, Method::Median | Method::CappedMedian);
    let centre = if by_count { median(candidates, order) } else { weighted_median(candidates, order) };
    let reach = match rule {
        Outlier::Mad => deviation_reach(candidates, order, centre, rules),
        _ => div_half_even(i128::from(centre) * i128::from(rules.band.raw()), ONE),
    };
    let reach = i64::try_from(reach).unwrap_or(i64::MAX);
    for at in order.iter() {
        let candidate = &mut candidates[*at];
        candidate.outside = (candidate.price - centre).abs() > reach;
    }
    let clamp = |candidates: &mut [Candidate]| {
        for at in order.iter() {
            let candidate = &mut candidates[*at];
            if candidate.outside {
                candidate.counted = candidate.price.clamp(centre - reach, centre.saturating_add(reach));
                candidate.state = ConstituentState::Clamped;
            }
        }
    };
    if rule == Outlier::Clamp {
        clamp(candidates);
        return false;
    }
    let stays = |candidate: &Candidate| !candidate.outside && !candidate.on_probation;
    let agreeing = order.iter().filter(|at| stays(&candidates[**at])).count();
    if agreeing >= rules.min_inliers as usize {
        for at in order.iter() {
            if !stays(&candidates[*at]) {
                candidates[*at].state = ConstituentState::Outlier;
            }
        }
        return false;
    }
    if rules.method == Method::CappedVwap {
        clamp(candidates);
    }
    // With one venue there is nothing to agree with: that is its own status.
    order.len() > 1
}

/// `mad_k` times the median distance from the median, at least one hundredth of a percent of it: venues that
/// agree to the tick do not exclude one that is a tick away.
fn deviation_reach(candidates: &[Candidate], order: &[usize], centre: i64, rules: &Rules) -> i128 {
    let mut distances: Vec<i64> = order.iter().map(|at| (candidates[*at].price - centre).abs()).collect();
    distances.sort_unstable();
    let half = distances.len() / 2;
    let middle =
        if distances.len() % 2 == 1 { distances[half] } else { midpoint(distances[half - 1], distances[half]) };
    let reach = div_half_even(i128::from(middle) * i128::from(rules.mad_k.raw()), ONE);
    reach.max(i128::from(centre) / 10_000)
}

/// Mean weighted by `weight`, no share above `cap` (in units of 1e-8) from three venues on: what is above goes
/// to the others by their weights.
fn capped_mean(candidates: &mut [Candidate], order: &[usize], cap: i128) -> Option<(i64, Shares)> {
    let total: i128 = order.iter().map(|at| candidates[*at].weight).sum();
    let biggest = order.iter().map(|at| candidates[*at].weight).max()?;
    if order.len() < 3 || biggest * ONE <= cap * total {
        let sum: i128 = order.iter().map(|at| i128::from(candidates[*at].counted) * candidates[*at].weight).sum();
        return Some((as_price(div_half_even(sum, total))?, Shares::ByWeight));
    }
    if cap * order.len() as i128 <= ONE {
        // Only equal weights come close to such a cap.
        let sum: i128 = order.iter().map(|at| i128::from(candidates[*at].counted)).sum();
        return Some((as_price(div_half_even(sum, order.len() as i128))?, Shares::Equal));
    }
    let (mut capped, mut rest) = (0i128, total);
    loop {
        let left = ONE - capped * cap;
        let (before, rest_before) = (capped, rest);
        for at in order {
            let candidate = &mut candidates[*at];
            if !candidate.capped && candidate.weight * left > cap * rest_before {
                candidate.capped = true;
                capped += 1;
                rest -= candidate.weight;
            }
        }
        if capped == before {
            break;
        }
    }
    Some((mean_with_capped(candidates, order, cap, capped)?, Shares::Capped { cap }))
}

/// The mean where some venues have exactly `cap` and the others share the rest by weight.
fn mean_with_capped(candidates: &[Candidate], order: &[usize], cap: i128, capped: i128) -> Option<i64> {
    let left = ONE - capped * cap;
    let capped_sum: i128 =
        order.iter().map(|at| &candidates[*at]).filter(|one| one.capped).map(|one| i128::from(one.counted)).sum();
    // Where the products would not fit, the weights lose low bits until they do.
    for shift in 0..63 {
        let (mut rest_sum, mut rest) = (0i128, 0i128);
        for candidate in order.iter().map(|at| &candidates[*at]).filter(|candidate| !candidate.capped) {
            rest += candidate.weight >> shift;
            rest_sum += (candidate.weight >> shift) * i128::from(candidate.counted);
        }
        if rest == 0 {
            break;
        }
        let products = (cap * capped_sum).checked_mul(rest).zip(rest_sum.checked_mul(left));
        if let Some(sum) = products.and_then(|(capped_part, rest_part)| capped_part.checked_add(rest_part)) {
            return as_price(div_half_even(sum, ONE * rest));
        }
    }
    // The others weigh nothing that could be told from zero.
    as_price(div_half_even(capped_sum, capped.max(1)))
}

/// Writes each counted venue's part of one, rounded half to even at 1e-8, and zero for the others.
pub(super) fn share_out(candidates: &mut [Candidate], composite: &Composite) {
    let counted = |candidate: &&Candidate| candidate.counts() && !candidate.capped;
    let weight = |candidate: &Candidate| if composite.shares == Shares::Equal { 1 } else { candidate.weight };
    let total: i128 = candidates.iter().filter(counted).map(weight).sum();
    let cap = if let Shares::Capped { cap } = composite.shares { cap } else { 0 };
    let capped = candidates.iter().filter(|candidate| candidate.capped).count() as i128;
    let left = ONE - cap * capped;
    for candidate in candidates.iter_mut().filter(|candidate| candidate.counts()) {
        let share = if candidate.capped { cap } else { div_half_even(weight(candidate) * left, total.max(1)) };
        candidate.share = share as i64;
    }
}
