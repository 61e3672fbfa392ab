//! How a link loses frames: processes with parameters from the plan, each drawing from the generator it is handed.

mod steady;

use rand_core::Rng;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use crate::units::Time;

/// A loss process as the plan states it. An `acceleration` beside these fields is a record; the figures include it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProcessPlan {
    Bernoulli {
        probability: f64,
        #[serde(default, skip_serializing)]
        acceleration: Option<f64>,
    },
    GilbertElliott {
        enter: f64,
        leave: f64,
        loss_good: f64,
        loss_bad: f64,
        #[serde(default, skip_serializing)]
        acceleration: Option<f64>,
    },
    Codewords {
        per_second: f64,
        burst_ps: u64,
        rate_bps: u64,
        #[serde(default, skip_serializing)]
        acceleration: Option<f64>,
    },
}

impl ProcessPlan {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<String> {
        let probabilities = match self {
            ProcessPlan::Bernoulli { probability, .. } => vec![*probability],
            ProcessPlan::GilbertElliott { enter, leave, loss_good, loss_bad, .. } => {
                vec![*enter, *leave, *loss_good, *loss_bad]
            }
            ProcessPlan::Codewords { per_second, rate_bps, .. } => {
                let sound = *rate_bps > 0 && (0.0..=*rate_bps as f64).contains(per_second);
                return (!sound).then(|| format!("{per_second} codewords a second at {rate_bps} bit/s"));
            }
        };
        let odd = probabilities.iter().find(|probability| !(0.0..=1.0).contains(*probability));
        odd.map(|probability| format!("{probability} is no probability"))
    }
}

/// A loss process at work.
#[derive(Clone, Debug)]
pub enum Loss {
    None,
    Bernoulli(Bernoulli),
    GilbertElliott(GilbertElliott),
    Codewords(Codewords),
}

impl Loss {
    /// Independent losses of one probability.
    pub fn bernoulli(probability: f64, random: &mut Pcg64) -> Loss {
        if probability <= 0.0 {
            return Loss::None;
        }
        let mut bernoulli = Bernoulli { probability, passing: 0 };
        bernoulli.passing = bernoulli.gap(random);
        Loss::Bernoulli(bernoulli)
    }

    pub fn new(plan: &ProcessPlan, random: &mut Pcg64) -> Loss {
        match *plan {
            ProcessPlan::Bernoulli { probability, .. } => Loss::bernoulli(probability, random),
            ProcessPlan::GilbertElliott { enter, leave, loss_good, loss_bad, .. } => {
                Loss::GilbertElliott(GilbertElliott { enter, leave, loss_good, loss_bad, bad: false })
            }
            ProcessPlan::Codewords { per_second, .. } if per_second <= 0.0 => Loss::None,
            ProcessPlan::Codewords { per_second, burst_ps, rate_bps, .. } => {
                let mut codewords = Codewords {
                    mean_gap_ps: 1e12 / per_second,
                    burst: Time::from_ps(burst_ps.max(1)),
                    rate_bps,
                    next: Time::ZERO,
                    dead: Time::ZERO,
                };
                codewords.next = codewords.gap(random);
                Loss::Codewords(codewords)
            }
        }
    }

    /// Whether a frame of `bytes` (with FCS) is lost whose last bit leaves at `sent`.
    #[inline]
    pub fn loses(&mut self, bytes: u32, sent: Time, random: &mut Pcg64) -> bool {
        match self {
            Loss::None => false,
            Loss::Bernoulli(bernoulli) => bernoulli.loses(random),
            Loss::GilbertElliott(chain) => chain.loses(random),
            Loss::Codewords(codewords) => codewords.loses(bytes, sent, random),
        }
    }
}

/// Uniform in (0, 1].
fn uniform(random: &mut Pcg64) -> f64 {
    share(random.next_u64())
}

/// Random bits as a share, of which the upper 53 count. It is never zero, so that its logarithm is finite.
fn share(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Independent losses, drawn as gaps between them: one draw a loss, not one a frame.
#[derive(Clone, Debug)]
pub struct Bernoulli {
    probability: f64,
    /// Frames that still pass before the next loss.
    passing: u64,
}

impl Bernoulli {
    /// Frames that pass before the next loss: geometric, by inversion.
    fn gap(&self, random: &mut Pcg64) -> u64 {
        if self.probability >= 1.0 {
            return 0;
        }
        (uniform(random).ln() / (-self.probability).ln_1p()) as u64
    }

    #[inline]
    fn loses(&mut self, random: &mut Pcg64) -> bool {
        if self.passing > 0 {
            self.passing -= 1;
            return false;
        }
        self.passing = self.gap(random);
        true
    }
}

/// Losses in bursts: a chain of two states that moves once a frame, after the frame is judged (the order of netem's gemodel).
#[derive(Clone, Debug)]
pub struct GilbertElliott {
    enter: f64,
    leave: f64,
    loss_good: f64,
    loss_bad: f64,
    bad: bool,
}

impl GilbertElliott {
    fn loses(&mut self, random: &mut Pcg64) -> bool {
        let (loss, change) = if self.bad { (self.loss_bad, self.leave) } else { (self.loss_good, self.enter) };
        // `uniform` is never 0, so that a probability of 0 never comes true and one of 1 always does.
        let lost = uniform(random) <= loss;
        self.bad ^= uniform(random) <= change;
        lost
    }
}

/// Codewords that a FEC cannot correct: a Poisson process in time, each killing every frame that overlaps its burst.
#[derive(Clone, Debug)]
pub struct Codewords {
    mean_gap_ps: f64,
    burst: Time,
    rate_bps: u64,
    /// When the next one begins, and when the last one drawn ends.
    next: Time,
    dead: Time,
}

impl Codewords {
    fn gap(&self, random: &mut Pcg64) -> Time {
        Time::from_ps((-uniform(random).ln() * self.mean_gap_ps) as u64)
    }

    fn loses(&mut self, bytes: u32, sent: Time, random: &mut Pcg64) -> bool {
        let line_ps = u128::from(bytes) * 8_000_000_000_000 / u128::from(self.rate_bps);
        let started = Time::from_ps(sent.ps().saturating_sub(line_ps as u64));
        if self.next + self.burst <= started {
            // An idle stretch: the process has no memory, so it need not be drawn through it.
            self.next = started.since(self.burst) + self.gap(random);
        }
        while self.next < sent {
            self.dead = self.next + self.burst;
            self.next += self.gap(random);
        }
        self.dead > started
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    fn generator(seed: u64) -> Pcg64 {
        Pcg64::seed_from_u64(seed)
    }

    /// Lost frames of `frames`, sent back to back at 100 Gb/s, and how many runs of losses they form.
    fn losses(plan: &ProcessPlan, frames: u64, bytes: u32, seed: u64) -> (u64, u64) {
        let mut random = generator(seed);
        let mut loss = Loss::new(plan, &mut random);
        let (mut lost, mut bursts, mut before) = (0, 0, false);
        for frame in 1..=frames {
            let now = loss.loses(bytes, Time::from_ps(frame * u64::from(bytes) * 80), &mut random);
            lost += u64::from(now);
            bursts += u64::from(now && !before);
            before = now;
        }
        (lost, bursts)
    }

    #[test]
    fn bernoulli_loses_the_share_that_is_set_and_repeats() {
        let plan = ProcessPlan::Bernoulli { probability: 1e-3, acceleration: None };
        let (lost, _) = losses(&plan, 1_000_000, 1_500, 1);
        // 1000 expected, standard deviation 31.6: four of them.
        assert!(lost.abs_diff(1_000) < 127, "{lost}");
        assert_eq!(losses(&plan, 100_000, 1_500, 2), losses(&plan, 100_000, 1_500, 2));
        assert_eq!(losses(&ProcessPlan::Bernoulli { probability: 0.0, acceleration: None }, 1_000, 64, 1).0, 0);
        assert_eq!(losses(&ProcessPlan::Bernoulli { probability: 1.0, acceleration: None }, 1_000, 64, 1).0, 1_000);
    }

    /// Mean burst 1/leave, mean loss enter/(enter + leave).
    #[test]
    fn gilbert_elliott_loses_in_bursts() {
        let plan = ProcessPlan::GilbertElliott {
            enter: 0.001,
            leave: 0.25,
            loss_good: 0.0,
            loss_bad: 1.0,
            acceleration: None,
        };
        let (lost, bursts) = losses(&plan, 2_000_000, 1_500, 3);
        let (share, burst) = (lost as f64 / 2e6, lost as f64 / bursts as f64);
        assert!((share - 0.001 / 0.251).abs() < 0.000_35, "{share}");
        assert!((burst - 4.0).abs() < 0.3, "{burst}");
    }

    /// A frame dies if a burst touches it: 1 − exp(−λ·(frame + burst)) for a lone frame, in the limit of rare bursts.
    #[test]
    fn codewords_kill_what_they_overlap() {
        let plan = ProcessPlan::Codewords {
            per_second: 2_000.0,
            burst_ps: 51_200,
            rate_bps: 100_000_000_000,
            acceleration: None,
        };
        let (lost, _) = losses(&plan, 2_000_000, 64, 4);
        let wanted = 2e6 * (1.0 - (-2_000.0 * (64.0 * 80.0 + 51_200.0) * 1e-12_f64).exp());
        // Losses come in runs of about eleven frames, which widens the spread by its root.
        assert!((lost as f64 - wanted).abs() < 4.0 * (11.0 * wanted).sqrt(), "{lost} of {wanted}");
    }

    #[test]
    fn an_idle_line_catches_nothing_up() {
        let plan =
            ProcessPlan::Codewords { per_second: 1e9, burst_ps: 100, rate_bps: 100_000_000_000, acceleration: None };
        let mut random = generator(5);
        let mut loss = Loss::new(&plan, &mut random);
        let mut lost = 0;
        for second in 1..1_000 {
            lost += u32::from(loss.loses(64, Time::from_ps(second * 1_000_000_000_000), &mut random));
        }
        assert!(lost > 950, "a frame of 5 ns among bursts every ns: {lost}");
    }

    #[test]
    fn uniform_is_above_zero_and_at_most_one() {
        let mut random = generator(6);
        assert_eq!((share(0), share(u64::MAX)), (f64::powi(2.0, -53), 1.0));
        let drawn: Vec<f64> = (0..10_000).map(|_| uniform(&mut random)).collect();
        assert!(drawn.iter().all(|value| 0.0 < *value && *value <= 1.0));
        // Half on average, with a standard deviation of 0.0029: four of them.
        assert!((drawn.iter().sum::<f64>() / 1e4 - 0.5).abs() < 0.012);
    }

    #[test]
    fn gilbert_elliott_judges_a_frame_before_it_moves() {
        let chain = |enter, leave, loss_good, loss_bad| {
            let plan = ProcessPlan::GilbertElliott { enter, leave, loss_good, loss_bad, acceleration: None };
            let (mut random, mut sequence) = (generator(7), Vec::new());
            let mut loss = Loss::new(&plan, &mut random);
            (0..6).for_each(|_| sequence.push(loss.loses(64, Time::ZERO, &mut random)));
            sequence
        };
        assert_eq!(chain(1.0, 1.0, 0.0, 1.0), [false, true, false, true, false, true]);
        assert_eq!(chain(1.0, 0.0, 0.0, 1.0), [false, true, true, true, true, true]);
        assert_eq!(chain(0.0, 1.0, 0.0, 1.0), [false; 6]);
        assert_eq!(chain(0.0, 0.0, 1.0, 0.0), [true; 6]);
    }

    #[test]
    fn a_burst_kills_what_overlaps_it_and_nothing_else() {
        // A frame of 125 bytes takes 10,000 ps at 100 Gb/s. One burst, from 50,000 to 53,000 ps, and no other for an hour.
        let (mut random, at) = (generator(8), Time::from_ps);
        for (sent, lost) in
            [(49_999, false), (50_000, false), (50_001, true), (60_000, true), (62_999, true), (63_000, false)]
        {
            let mut codewords = Codewords {
                mean_gap_ps: 1e16,
                burst: at(3_000),
                rate_bps: 100_000_000_000,
                next: at(50_000),
                dead: Time::ZERO,
            };
            assert_eq!(codewords.loses(125, at(sent), &mut random), lost, "sent at {sent} ps");
        }
        let mut codewords =
            Codewords { mean_gap_ps: 1e16, burst: at(3_000), rate_bps: 100_000_000_000, next: at(50_000), dead: at(0) };
        let lost = [60_000, 62_999, 63_000].map(|sent| codewords.loses(125, at(sent), &mut random));
        assert_eq!(lost, [true, true, false], "one of a row of frames begins as the burst ends");
    }

    #[test]
    fn gaps_between_codewords_are_as_long_as_their_rate_says() {
        let mut codewords = Codewords {
            mean_gap_ps: 1e6,
            burst: Time::from_ps(1),
            rate_bps: 100_000_000_000,
            next: Time::ZERO,
            dead: Time::ZERO,
        };
        let mut random = generator(9);
        let mean = (0..10_000).map(|_| codewords.gap(&mut random).ps() as f64).sum::<f64>() / 1e4;
        assert!((mean / 1e6 - 1.0).abs() < 0.04, "an exponential spread, four deviations: {mean}");
        // In an hour of one frame, all codewords before its end have begun.
        codewords.next = Time::from_ps(10);
        codewords.loses(1_250, Time::from_ps(100_000_000), &mut random);
        assert!(codewords.next >= Time::from_ps(100_000_000) && codewords.dead > codewords.burst);
    }

    #[test]
    fn what_never_loses_draws_nothing() {
        let silent = [
            ProcessPlan::Bernoulli { probability: 0.0, acceleration: None },
            ProcessPlan::Codewords { per_second: 0.0, burst_ps: 1, rate_bps: 1, acceleration: None },
        ];
        for plan in silent {
            assert!(matches!(Loss::new(&plan, &mut generator(1)), Loss::None), "{plan:?}");
        }
        assert!(matches!(Loss::bernoulli(-1.0, &mut generator(1)), Loss::None));
        assert!(matches!(Loss::bernoulli(0.5, &mut generator(1)), Loss::Bernoulli(_)));
    }

    #[test]
    fn odd_figures_are_named() {
        let fault = |plan: ProcessPlan| plan.fault().unwrap_or_default();
        let bernoulli = |probability| fault(ProcessPlan::Bernoulli { probability, acceleration: None });
        assert_eq!([0.0, 1e-9, 1.0].map(bernoulli), [const { String::new() }; 3]);
        assert_eq!(bernoulli(1.5), "1.5 is no probability");
        assert_eq!([-0.1, f64::NAN].map(bernoulli), ["-0.1 is no probability", "NaN is no probability"]);
        for odd in 0..4 {
            let mut figures = [0.5; 4];
            figures[odd] = 2.0;
            let [enter, leave, loss_good, loss_bad] = figures;
            let plan = ProcessPlan::GilbertElliott { enter, leave, loss_good, loss_bad, acceleration: None };
            assert_eq!(fault(plan), "2 is no probability");
        }
        let codewords = |per_second, rate_bps| {
            fault(ProcessPlan::Codewords { per_second, burst_ps: 0, rate_bps, acceleration: None })
        };
        assert_eq!([codewords(0.0, 1), codewords(1.0, 1), codewords(5.0, 9)], [const { String::new() }; 3]);
        assert_eq!(codewords(0.0, 0), "0 codewords a second at 0 bit/s");
        assert_eq!(codewords(1.5, 1), "1.5 codewords a second at 1 bit/s");
        assert_eq!(codewords(-1.0, 1), "-1 codewords a second at 1 bit/s");
    }
}
