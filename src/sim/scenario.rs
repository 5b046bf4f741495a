//! Scenarios: faults at given times, or drawn from a seeded list, read from a small TOML file or
//! one of those that are built in. What is played when; not what a fault does.
//!
#![doc = include_str!("SCENARIOS.md")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::core::{Spec, duration};
use crate::clock::UnixNanos;

/// Bytes of a scenario file, at most.
const MAX_BYTES: u64 = 1 << 20;

/// Those that can be played by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("flaky-evening", include_str!("scenarios/flaky-evening.toml")),
    ("dirty-wire", include_str!("scenarios/dirty-wire.toml")),
    ("second-device", include_str!("scenarios/second-device.toml")),
    ("random-faults", include_str!("scenarios/random-faults.toml")),
];

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither a file nor a name.
    #[error("scenario {name}: there is no such file, and built in are only {}", names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("scenario {name}: {source}")]
    Read {
        /// Which file.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The text is no scenario.
    #[error("scenario {name}: {problem}")]
    Wrong {
        /// Which file.
        name: String,
        /// Where and what.
        problem: String,
    },
}

fn names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

/// A scenario that was read.
#[derive(Clone, Debug)]
pub struct Scenario {
    name: String,
    about: String,
    seed: Option<u64>,
    steps: Vec<Step>,
    random: Option<Random>,
}

#[derive(Clone, Debug)]
struct Step {
    at: Duration,
    repeat_every: Option<Duration>,
    spec: Spec,
}

#[derive(Clone, Debug)]
struct Random {
    first: Duration,
    every: Duration,
    kinds: Vec<Spec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    about: String,
    seed: Option<u64>,
    #[serde(default)]
    step: Vec<BTreeMap<String, toml::Value>>,
    random: Option<WrittenRandom>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRandom {
    first: Option<String>,
    every: String,
    #[serde(rename = "for")]
    lasts: Option<String>,
    kinds: Vec<toml::Value>,
}

impl Scenario {
    /// Reads a file; if there is none of this name, the built-in one.
    ///
    /// # Errors
    /// If there is neither, or what is wrong in it, with the step and the key.
    pub fn load(name: &str) -> Result<Self, ScenarioError> {
        let path = Path::new(name);
        if path.is_file() {
            let read = |source| ScenarioError::Read { name: name.to_owned(), source };
            if fs::metadata(path).map_err(read)?.len() > MAX_BYTES {
                return Err(read(io::Error::other("the file is longer than 1 MiB")));
            }
            return Self::parse(name, &fs::read_to_string(path).map_err(read)?);
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(name, text),
            None => Err(ScenarioError::Unknown { name: name.to_owned() }),
        }
    }

    /// Reads a text; `name` is for errors.
    ///
    /// # Errors
    /// What is wrong in it, with the step and the key.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let wrong = |problem: String| ScenarioError::Wrong { name: name.to_owned(), problem };
        let written: Written =
            toml::from_str(text).map_err(|e| wrong(e.to_string().trim_end().to_owned()))?;
        let mut steps = Vec::with_capacity(written.step.len());
        for (number, step) in (1..).zip(written.step) {
            steps.push(read_step(step).map_err(|problem| wrong(format!("step {number}: {problem}")))?);
        }
        let random =
            written.random.map(read_random).transpose().map_err(|p| wrong(format!("random: {p}")))?;
        if steps.is_empty() && random.is_none() {
            return Err(wrong("it has neither a step nor random".to_owned()));
        }
        Ok(Self { name: written.name, about: written.about, seed: written.seed, steps, random })
    }

    /// What it calls itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of those that are built in.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Every fault in it, and where it stands.
    pub(crate) fn specs(&self) -> impl Iterator<Item = (String, &Spec)> {
        let steps = (1..).zip(&self.steps).map(|(n, step): (u32, _)| (format!("step {n}"), &step.spec));
        let random = self.random.iter().flat_map(|r| &r.kinds).map(|spec| ("random".to_owned(), spec));
        steps.chain(random)
    }
}

fn read_step(mut step: BTreeMap<String, toml::Value>) -> Result<Step, String> {
    let mut take = |key: &str| match step.remove(key) {
        None => Ok(None),
        Some(value) => {
            let found = value.as_str().and_then(duration);
            found.map(Some).ok_or_else(|| format!("{key} must be as 500ms, 5s, 2m or 1h"))
        }
    };
    let at = take("at")?.ok_or("at is missing")?;
    let repeat_every = take("repeat_every")?;
    if repeat_every.is_some_and(|every| every < Duration::from_millis(100)) {
        return Err("repeat_every must be at least 100ms".to_owned());
    }
    let body = serde_json::to_value(step).map_err(|e| e.to_string())?;
    Ok(Step { at, repeat_every, spec: Spec::parse(&body)? })
}

fn read_random(written: WrittenRandom) -> Result<Random, String> {
    let read =
        |key: &str, text: &str| duration(text).ok_or_else(|| format!("{key} must be as 500ms, 5s, 2m or 1h"));
    let every = read("every", &written.every)?;
    if every < Duration::from_millis(100) {
        return Err("every must be at least 100ms".to_owned());
    }
    let first = written.first.as_deref().map_or(Ok(every), |text| read("first", text))?;
    if written.kinds.is_empty() {
        return Err("kinds is empty".to_owned());
    }
    let mut kinds = Vec::with_capacity(written.kinds.len());
    for (number, kind) in (1..).zip(written.kinds) {
        let mut body = match kind {
            toml::Value::String(fault) => json!({ "fault": fault }),
            other => serde_json::to_value(other).map_err(|e| e.to_string())?,
        };
        if let (Some(lasts), Value::Object(object)) = (&written.lasts, &mut body) {
            object.entry("for").or_insert_with(|| json!(lasts));
        }
        kinds.push(Spec::parse(&body).map_err(|problem| format!("kinds, {number}: {problem}"))?);
    }
    Ok(Random { first, every, kinds })
}

/// A scenario that is being played.
#[derive(Debug)]
pub(crate) struct Player {
    /// When each step is next; `None`: never again.
    steps: Vec<(Option<UnixNanos>, Step)>,
    random: Option<(UnixNanos, Random, StdRng)>,
}

impl Player {
    /// From `now` on. `seed` is for a scenario without one of its own.
    pub(crate) fn start(scenario: Scenario, seed: u64, now: UnixNanos) -> Self {
        tracing::info!(scenario = scenario.name, about = scenario.about, "a scenario is played");
        let random = StdRng::seed_from_u64(scenario.seed.unwrap_or(seed));
        Self {
            steps: scenario.steps.into_iter().map(|step| (Some(now.plus(step.at)), step)).collect(),
            random: scenario.random.map(|drawn| (now.plus(drawn.first), drawn, random)),
        }
    }

    /// What begins at `now`. Where time has jumped over more than one turn of a repeated step,
    /// it comes once; a drawn one that would be over by now is drawn and left out, so that what
    /// follows is the same in every run.
    pub(crate) fn due(&mut self, now: UnixNanos) -> Vec<Spec> {
        let mut due = Vec::new();
        for (next, step) in &mut self.steps {
            let Some(at) = next.filter(|at| *at <= now) else { continue };
            due.push(step.spec.clone());
            *next = step.repeat_every.map(|every| {
                let missed = now.since(at).as_nanos() / every.as_nanos().max(1);
                at.plus(every.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX)))
            });
        }
        if let Some((next, drawn, random)) = &mut self.random {
            while *next <= now {
                let spec = &drawn.kinds[random.random_range(0..drawn.kinds.len())];
                let share = random.random_range(0.3..1.0);
                let mut spec = spec.clone();
                spec.lasts = spec.lasts.mul_f64(share);
                if next.plus(spec.lasts.max(Duration::from_secs(1))) > now {
                    due.push(spec);
                }
                *next = next.plus(drawn.every.mul_f64(random.random_range(0.5..1.5)));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixNanos = UnixNanos::from_secs(1_770_698_730);

    fn after(ms: u64) -> UnixNanos {
        START.plus(Duration::from_millis(ms))
    }

    #[test]
    fn those_built_in_are_read() {
        for name in Scenario::built_in() {
            let scenario = Scenario::load(name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(scenario.name(), name);
            assert!(!scenario.about.is_empty());
        }
    }

    #[test]
    fn problems_are_named_by_file_step_and_key() {
        let said = |text: &str| Scenario::parse("x.toml", text).unwrap_err().to_string();
        let step = |step: &str| {
            said(&format!("name = \"x\"\n[[step]]\nat = \"1s\"\nfault = \"mute\"\n[[step]]\n{step}"))
        };
        assert_eq!(step("fault = \"mute\""), "scenario x.toml: step 2: at is missing");
        assert_eq!(
            step("at = \"1 s\"\nfault = \"mute\""),
            "scenario x.toml: step 2: at must be as 500ms, 5s, 2m or 1h"
        );
        assert_eq!(
            step("at = \"1s\"\nfault = \"mute\"\nfactor = 3"),
            "scenario x.toml: step 2: factor is no key of mute"
        );
        assert!(
            step("at = \"1s\"\nfault = \"mutt\"")
                .starts_with("scenario x.toml: step 2: fault \"mutt\" is none of ")
        );
        assert_eq!(step("at = \"1s\"\nfault = \"burst\""), "scenario x.toml: step 2: factor is missing");
        assert!(said("name = \"x\"\nstepp = 1").contains("unknown field `stepp`"));
        assert!(said("name = \"x\"").ends_with("it has neither a step nor random"));
        assert_eq!(
            said("name = \"x\"\n[random]\nevery = \"9s\"\nkinds = [\"mute\", {fault = \"layout\"}]"),
            "scenario x.toml: random: kinds, 2: layout must be a, b or c"
        );
        let missing = Scenario::load("no-such-thing").unwrap_err().to_string();
        assert!(missing.contains("no such file") && missing.contains("flaky-evening"), "{missing}");
    }

    #[test]
    fn steps_come_when_they_are_due_and_again() {
        let text = "name = \"x\"\n[[step]]\nat = \"2s\"\nfault = \"mute\"\nfor = \"1s\"\n\
                    [[step]]\nat = \"1s\"\nrepeat_every = \"10s\"\nfault = \"drop\"\n";
        let mut player = Player::start(Scenario::parse("x", text).unwrap(), 1, START);
        let mut names = |ms| player.due(after(ms)).iter().map(|s| s.name).collect::<Vec<_>>();
        assert!(names(900).is_empty());
        assert_eq!(names(1_000), ["drop"]);
        assert_eq!(names(2_500), ["mute"]);
        assert!(names(10_900).is_empty());
        assert_eq!(names(11_050), ["drop"]);
        // Over three turns of it.
        assert_eq!(names(45_000), ["drop"]);
        assert!(names(50_900).is_empty());
        assert_eq!(names(51_000), ["drop"]);
    }

    #[test]
    fn what_is_drawn_is_the_same_for_the_same_seed() {
        let text = "name = \"x\"\nseed = 7\n[random]\nfirst = \"1s\"\nevery = \"2s\"\nfor = \"4s\"\n\
                    kinds = [\"mute\", \"drop\", \"expire\", {fault = \"burst\", factor = 9}]\n";
        let draw = |step: u64, text: &str| {
            let mut player = Player::start(Scenario::parse("x", text).unwrap(), 1, START);
            (0..60_000 / step)
                .flat_map(|n| player.due(after(n * step)))
                .map(|s| (s.name, s.lasts))
                .collect::<Vec<_>>()
        };
        let first = draw(20, text);
        assert!(first.len() > 15, "{}", first.len());
        assert_eq!(first, draw(100, text), "however often it is asked");
        assert_ne!(first, draw(20, &text.replace("seed = 7", "seed = 8")));
    }
}
