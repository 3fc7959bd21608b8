//! What is written down.

use super::{Options, Round};
use crate::bench::report::{self, against, median, table, thousands};

/// Of the rate of one `COPY`.
const WORKER_SHARE_MIN: f64 = 0.5;
const BYTES_MAX: f64 = 150.0;
/// For a hundred winners.
const SCRIPT_MICROS_MAX: f64 = 200.0;

/// The section's text.
pub(super) fn section(
    options: &Options,
    machine: &str,
    measured: &[Round],
    settings: &[String],
) -> String {
    let Options { claims, rounds } = options;
    let of = |figure: &dyn Fn(&Round) -> f64| median(measured.iter().map(figure).collect());
    let share = of(&|round| round.worker_rows_per_second / round.copy_rows_per_second);
    let (bytes, micros) = (of(&|round| round.script.bytes), of(&|round| round.script.alone_us));
    let rows = [
        vec![
            "a worker, from Kafka to PostgreSQL, against one `COPY`".to_owned(),
            format!(
                "{} and {} rows/s: **{share:.2}**",
                thousands(of(&|round| round.worker_rows_per_second)),
                thousands(of(&|round| round.copy_rows_per_second)),
            ),
            against(share >= WORKER_SHARE_MIN, "≥ 0.5"),
        ],
        vec![
            "Redis's memory for a winner".to_owned(),
            format!("**{bytes:.0}** bytes"),
            against(bytes <= BYTES_MAX, "≤ 150"),
        ],
        vec![
            "Redis's script for 100 winners".to_owned(),
            format!(
                "**{micros:.0}** µs by itself; {:.0} µs in the drop, in batches of {:.0}",
                of(&|round| round.script.in_drop_us),
                of(&|round| round.script.batch_in_drop),
            ),
            against(micros <= SCRIPT_MICROS_MAX, "≤ 200 µs"),
        ],
    ];
    format!(
        "Command: `cargo xtask bench parts --claims {claims} --rounds {rounds}`  \n\
         Machine: {machine}\n\nMedians of {rounds} rounds, of the ratio too.\n\n{}\n{}",
        table(&["what", "measured", "bar"], &rows),
        report::settings("PostgreSQL", settings),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::parts::script::Script;

    fn round(bytes: f64, alone_us: f64, worker_rows_per_second: f64) -> Round {
        let script = Script { bytes, alone_us, in_drop_us: 500.0, batch_in_drop: 80.0 };
        Round { script, worker_rows_per_second, copy_rows_per_second: 1000.0 }
    }

    #[test]
    fn each_figure_is_the_median_and_held_against_its_bar() {
        let options = Options { claims: 10_000, rounds: 3 };
        let shown = |middle: [Round; 1]| {
            let [middle] = middle;
            let rounds = [round(1.0, 1.0, 1.0), middle, round(999.0, 999.0, 999.0)];
            section(&options, "m", &rounds, &["fsync = on".to_owned()])
        };
        let good = shown([round(123.4, 200.0, 500.0)]);
        assert!(good.contains("| 500 and 1,000 rows/s: **0.50** | ≥ 0.5 (reached) |"), "{good}");
        assert!(good.contains("| **123** bytes | ≤ 150 (reached) |"), "{good}");
        let script =
            "| **200** µs by itself; 500 µs in the drop, in batches of 80 | ≤ 200 µs (reached) |";
        assert!(good.contains(script), "{good}");
        assert!(good.contains("`cargo xtask bench parts --claims 10000 --rounds 3`"), "{good}");
        assert!(good.ends_with("- The settings of PostgreSQL: `fsync = on`.\n"), "{good}");
        let bad = shown([round(151.0, 201.0, 499.0)]);
        assert_eq!(bad.matches("(**not reached**)").count(), 3, "{bad}");
    }
}
