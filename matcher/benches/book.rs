//! What one book does: commands per CPU-second, time of one command, memory. `cargo bench -p matcher --bench book`.
//!
//! A million new orders, cancels and modifies mixed 50 / 41 / 9 %, 15 % of the new ones immediate, in five shapes.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use matcher::book::{Book, NewOrder, Report};
use model::Side;

#[derive(Clone, Copy)]
enum Kind {
    New,
    Cancel,
    Modify,
}

/// A command as it lies in a decoded batch: fixed fields, those that it lacks are 0.
#[derive(Clone, Copy)]
struct Command {
    kind: Kind,
    order: NewOrder,
}

impl Command {
    fn on(kind: Kind, id: u64, ticks: i64, lots: u64) -> Self {
        Self { kind, order: NewOrder { id, side: Side::Buy, ticks, lots, immediate: false } }
    }
}

struct Shape {
    name: &'static str,
    /// Orders that rest before the clock starts, spread over the depth.
    standing: u64,
    /// How far from the touch an order is placed, at most.
    depth: i64,
    /// Power of the spread towards the touch: 1 is uniform.
    gather: i32,
    /// Commands that an order lives, about.
    life: u64,
    /// The middle at this part of the run (0 to 1), in ticks.
    middle: fn(f64) -> f64,
}

const NEWS: usize = 1_000_000;

/// The five shapes in two sizes: near the touch with young orders, as a liquid market has them; and wide, with more
/// and older orders spread further, which is harder on caches.
fn shapes() -> Vec<Shape> {
    let normal = |at: f64| 33_500.0 * (1.0 + 0.01 * (at * 40.0).sin());
    let swinging = |at: f64| 33_500.0 * (1.0 + 0.25 * (at * 30.0).sin());
    let crash =
        |at: f64| 33_500.0 * if (0.4..0.6).contains(&at) { 1.0 - 0.6 * (1.0 - (at - 0.5).abs() * 10.0) } else { 1.0 };
    let levels = |at: f64| 200_000.0 * (1.0 + 0.01 * (at * 40.0).sin());
    let shape = |name: &'static str, (standing, depth, life): (u64, i64, u64), gather: i32, middle: fn(f64) -> f64| {
        Shape { name, standing, depth, gather, life, middle }
    };
    vec![
        shape("normal", (20_000, 800, 1_000), 3, normal),
        shape("deep static book", (200_000, 100, 10_000), 2, |_| 33_500.0),
        shape("swinging", (20_000, 800, 1_000), 3, swinging),
        shape("flash crash", (20_000, 800, 1_000), 3, crash),
        shape("many price levels", (50_000, 10_000, 5_000), 1, levels),
        shape("wide: normal", (20_000, 800, 2_000), 3, normal),
        shape("wide: deep static", (300_000, 200, 50_000), 2, |_| 33_500.0),
        shape("wide: swinging", (20_000, 800, 2_000), 3, swinging),
        shape("wide: flash crash", (20_000, 800, 2_000), 3, crash),
        shape("wide: many levels", (100_000, 50_000, 20_000), 1, levels),
    ]
}

impl Shape {
    fn order(&self, id: u64, at: f64, random: &mut fastrand::Rng) -> NewOrder {
        let side = if random.bool() { Side::Buy } else { Side::Sell };
        let away = (random.f64().powi(self.gather) * self.depth as f64) as i64;
        // One in twenty is priced through the touch; an immediate one always reaches for it.
        let immediate = random.u32(0..100) < 15;
        let away = if immediate || random.u32(0..20) == 0 { -random.i64(0..4) } else { away + 1 };
        let middle = (self.middle)(at) as i64;
        let ticks = if side == Side::Buy { middle - away } else { middle + away };
        NewOrder { id, side, ticks: ticks.max(1), lots: random.u64(1..=100), immediate }
    }

    /// The standing orders, then the commands. Cancels and modifies name orders by age, so that most still rest.
    fn commands(&self, seed: u64) -> (Vec<NewOrder>, Vec<Command>) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut standing = vec![];
        for id in 0..self.standing {
            let mut order = self.order(id, 0.0, &mut random);
            order.immediate = false;
            let away = 1 + (random.f64() * self.depth as f64) as i64;
            let middle = (self.middle)(0.0) as i64;
            order.ticks = if order.side == Side::Buy { middle - away } else { middle + away };
            standing.push(order);
        }
        let total = NEWS * 2;
        let mut due: std::collections::BinaryHeap<std::cmp::Reverse<(u64, u64)>> = Default::default();
        let mut live: Vec<NewOrder> = vec![];
        let mut commands = Vec::with_capacity(total);
        let mut id = self.standing;
        while commands.len() < total {
            let at = commands.len() as f64 / total as f64;
            let now = commands.len() as u64;
            let draw = random.u32(0..100);
            if draw < 41 && due.peek().is_some_and(|due| due.0.0 <= now) {
                let std::cmp::Reverse((_, gone)) = due.pop().unwrap();
                commands.push(Command::on(Kind::Cancel, gone, 0, 0));
            } else if draw < 50 && !live.is_empty() {
                let recent = live.len() - 1 - random.usize(0..live.len().min(self.life as usize / 2 + 1));
                let order = live[recent];
                let ticks = if random.u32(0..10) < 8 { order.ticks + random.i64(-1..=1) } else { order.ticks };
                commands.push(Command::on(Kind::Modify, order.id, ticks.max(1), order.lots + 1));
            } else {
                let order = self.order(id, at, &mut random);
                if !order.immediate {
                    let life = (-random.f64().max(1e-9).ln() * self.life as f64) as u64;
                    due.push(std::cmp::Reverse((now + life, id)));
                    live.push(order);
                }
                id += 1;
                commands.push(Command { kind: Kind::New, order });
            }
        }
        (standing, commands)
    }
}

/// Nanoseconds that this thread has had a CPU.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    text.split(' ').next().unwrap().parse().unwrap()
}

#[inline(never)]
fn apply(book: &mut Book, command: Command, out: &mut Vec<Report>) {
    let order = command.order;
    match command.kind {
        Kind::New => book.place(order, out),
        Kind::Cancel => book.cancel(order.id, out),
        Kind::Modify => book.modify(order.id, order.ticks, order.lots, out),
    }
}

struct Run {
    per_cpu_second: f64,
    trades: u64,
    resting: usize,
    levels: usize,
}

fn run(standing: &[NewOrder], commands: &[Command], ahead: bool) -> Run {
    let mut book = Book::with_capacity(1 << 16);
    let mut out = Vec::with_capacity(4096);
    for order in standing {
        out.clear();
        book.place(*order, &mut out);
    }
    let mut trades = 0;
    let start = cpu_ns();
    for (at, command) in commands.iter().enumerate() {
        if ahead {
            for (stage, ahead) in [14, 9, 4].into_iter().enumerate() {
                let next = &commands[(at + ahead).min(commands.len() - 1)].order;
                book.prefetch(stage as u32, next.id, next.side, next.ticks);
            }
        }
        out.clear();
        apply(&mut book, *command, &mut out);
        trades += black_box(&out).iter().filter(|report| matches!(report, Report::Trade { .. })).count() as u64;
    }
    let spent = cpu_ns() - start;
    let per_cpu_second = commands.len() as f64 / (spent as f64 / 1e9);
    Run { per_cpu_second, trades, resting: book.len(), levels: book.depth().levels() }
}

#[cfg(target_arch = "x86_64")]
fn cycles() -> u64 {
    // SAFETY: reads the time stamp counter, which every x86-64 processor has.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn cycles() -> u64 {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// Time of each command by itself, the cost of looking at the clock taken off: p50, p99, p99.9, max in ns.
fn latencies(standing: &[NewOrder], commands: &[Command]) -> [f64; 4] {
    let (started, from) = (Instant::now(), cycles());
    while started.elapsed().as_millis() < 50 {}
    let per_ns = (cycles() - from) as f64 / started.elapsed().as_nanos() as f64;
    let idle = (0..10_000).map(|_| black_box(cycles()).abs_diff(black_box(cycles()))).min().unwrap();
    let mut book = Book::with_capacity(1 << 16);
    let mut out = Vec::with_capacity(4096);
    for order in standing {
        out.clear();
        book.place(*order, &mut out);
    }
    let mut times: Vec<u64> = commands
        .iter()
        .map(|command| {
            out.clear();
            let start = cycles();
            apply(&mut book, *command, &mut out);
            (cycles() - start).saturating_sub(idle)
        })
        .collect();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / per_ns;
    [at(0.5), at(0.99), at(0.999), at(1.0)]
}

/// Median and best.
fn summary(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() - 1])
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("million commands per CPU-second, median (best) of 7 runs: in batches with prefetching, and one by one");
    println!(
        "{:<18} {:>13} {:>13} {:>7} {:>7} {:>7} {:>9} {:>8} {:>8} {:>7}",
        "shape", "batches", "one by one", "p50 ns", "p99 ns", "p99.9", "max ns", "trades", "resting", "levels"
    );
    for shape in shapes() {
        if only.as_ref().is_some_and(|only| !shape.name.starts_with(only.as_str())) {
            continue;
        }
        let (standing, commands) = shape.commands(23);
        let mut last = None;
        let mut figure = |ahead| {
            let runs = (0..7).map(|_| {
                let run = run(&standing, &commands, ahead);
                let figure = run.per_cpu_second / 1e6;
                last = Some(run);
                figure
            });
            summary(runs.collect())
        };
        let ((batched, batched_best), (single, single_best)) = (figure(true), figure(false));
        let [p50, p99, p999, max] = latencies(&standing, &commands);
        let Run { trades, resting, levels, .. } = last.unwrap();
        let (batched, single) =
            (format!("{batched:.1} ({batched_best:.1})"), format!("{single:.1} ({single_best:.1})"));
        println!(
            "{:<18} {batched:>13} {single:>13} {p50:>7.0} {p99:>7.0} {p999:>7.0} {max:>9.0} {trades:>8} {resting:>8} {levels:>7}",
            shape.name
        );
    }
    if only.is_none() {
        memory();
    }
}

/// Bytes of a book of a million resting orders, over few levels and over a million.
fn memory() {
    for (name, spread) in [("1,000 levels", 1_000u64), ("100,000 levels", 100_000), ("a level each, 16 ticks apart", 0)]
    {
        let mut book = Book::new();
        for id in 0..1_000_000u64 {
            let (side, base) = if id & 1 == 0 { (Side::Buy, 0) } else { (Side::Sell, 100_000_000) };
            let step = if spread == 0 { id * 16 } else { id.wrapping_mul(7919) % spread };
            let order = NewOrder { id, side, ticks: base + 1 + step as i64, lots: 1, immediate: false };
            book.place(order, &mut |_: Report| {});
        }
        println!("1,000,000 orders resting on {name}: {:.0} MB", book.bytes() as f64 / 1e6);
    }
}
