//! GOAL as text: a line has one statement; comments may stand anywhere.

use std::borrow::Cow;

use super::labels::Labels;
use super::statement::{self, Statement, Written};
use super::{Fault, Kind, Nics, Op, Place, Rank, Wait, ANY_SOURCE, MAX_AMOUNT, MAX_CPU, MAX_RANKS, PS_PER_NS};

const MAX_TAG: u64 = u32::MAX as u64;
const RESERVED: [&str; 5] = ["send", "recv", "calc", "rank", "num_ranks"];

/// What lines have said so far; it holds the rank that is open.
#[derive(Debug)]
pub struct Text {
    most_ops: u64,
    ops: u64,
    size: Option<u32>,
    /// Ranks that were read whole.
    read: u32,
    open: Option<Rank>,
    labels: Labels,
    in_comment: bool,
    nics: Nics,
}

impl Text {
    /// `most_ops`: of all ranks together.
    pub fn new(most_ops: u64) -> Text {
        Text {
            most_ops,
            ops: 0,
            size: None,
            read: 0,
            open: None,
            labels: Labels::default(),
            in_comment: false,
            nics: Nics::default(),
        }
    }

    /// How many ranks the file has, once it has said so.
    pub fn size(&self) -> Option<u32> {
        self.size
    }

    pub fn nics(&self) -> Nics {
        self.nics
    }

    /// Read a line, given without its end; a rank when it is whole.
    pub fn line(&mut self, number: u64, raw: &[u8]) -> Result<Option<Rank>, Fault> {
        let text = std::str::from_utf8(raw).map_err(|_| Fault::at(Place::Line(number), "not UTF-8 text"))?;
        let text = text.trim_matches(is_space);
        if !self.in_comment && !text.contains('/') {
            return self.statement(number, text);
        }
        let text = self.uncommented(text).into_owned();
        self.statement(number, text.trim_matches(is_space))
    }

    /// The file is over after so many lines: the last rank, if its brace is missing.
    pub fn finish(&mut self, number: u64) -> Result<Option<Rank>, Fault> {
        let place = Place::Line(number);
        if self.in_comment {
            return Err(Fault::at(place, "the file ends within a comment"));
        }
        let Some(size) = self.size else {
            return Err(Fault::at(place, "no ranks: the file begins with num_ranks N"));
        };
        let last = self.open.is_some().then(|| self.close());
        if self.read < size {
            return Err(Fault::at(place, format!("rank {} is missing; num_ranks is {size}", self.read)));
        }
        Ok(last)
    }

    /// The line with a blank in place of each comment.
    fn uncommented<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        let mut rest = text;
        if self.in_comment {
            let Some((_, after)) = rest.split_once("*/") else { return Cow::Borrowed("") };
            (rest, self.in_comment) = (after, false);
        }
        let mut plain = String::new();
        while let Some((before, comment)) = next_comment(rest) {
            plain.push_str(before);
            plain.push(' ');
            let Some(inside) = comment.strip_prefix("/*") else { return Cow::Owned(plain) };
            let Some((_, after)) = inside.split_once("*/") else {
                self.in_comment = true;
                return Cow::Owned(plain);
            };
            rest = after;
        }
        plain.push_str(rest);
        Cow::Owned(plain)
    }

    fn statement(&mut self, number: u64, text: &str) -> Result<Option<Rank>, Fault> {
        if text.is_empty() {
            return Ok(None);
        }
        let place = Place::Line(number);
        let Some(size) = self.size else {
            let ranks = statement::num_ranks(text);
            let ranks = ranks.ok_or_else(|| Fault::quoting(place, text, "\"{}\" stands before num_ranks N"))?;
            let size = whole(ranks).filter(|size| (1..=u128::from(MAX_RANKS)).contains(size)).ok_or_else(|| {
                let digits = ranks.trim_start_matches('0');
                let digits = if digits.is_empty() { "0" } else { digits };
                Fault::at(place, format!("num_ranks {digits} is not a whole number from 1 to {MAX_RANKS}"))
            })?;
            self.size = Some(size as u32);
            return Ok(None);
        };
        if self.open.is_some() {
            if text == "}" {
                return Ok(Some(self.close()));
            }
            self.within(number, size, text)?;
            return Ok(None);
        }
        let opened = statement::rank(text);
        let (rank, rest) = opened.ok_or_else(|| Fault::quoting(place, text, "\"{}\" stands outside a rank"))?;
        let rank = whole(rank).unwrap_or(u128::MAX);
        if rank != u128::from(self.read) || self.read >= size {
            let wanted = match self.read {
                next if next < size => format!("rank {next} comes next"),
                _ => "all ranks were there".into(),
            };
            return Err(Fault::at(place, format!("rank {rank} of {size}, where {wanted}")));
        }
        self.open = Some(Rank::default());
        self.labels.clear();
        self.statement(number, rest.trim_matches(is_space))
    }

    fn close(&mut self) -> Rank {
        self.read += 1;
        self.open.take().unwrap_or_default()
    }

    fn within(&mut self, number: u64, size: u32, text: &str) -> Result<(), Fault> {
        let place = Place::Line(number);
        match statement::parse(text) {
            Some(Statement::Op(written)) => self.op(number, size, &written),
            Some(Statement::Requires { waiter, required, begun }) => {
                let wait = Wait { waiter: self.labelled(place, waiter)?, required: self.labelled(place, required)? };
                if let Some(rank) = &mut self.open {
                    if begun { &mut rank.begun } else { &mut rank.after }.push(wait);
                }
                Ok(())
            }
            None => Err(Fault::quoting(place, text, "\"{}\" is not a send, recv, calc or requires")),
        }
    }

    fn op(&mut self, number: u64, size: u32, written: &Written<'_>) -> Result<(), Fault> {
        let place = Place::Line(number);
        let line = u32::try_from(number).map_err(|_| Fault::at(place, format!("more than {} lines", u32::MAX)))?;
        let is_calc = written.kind == Kind::Calc;
        let mut amount = within(place, if is_calc { "the time" } else { "the size" }, written.amount, MAX_AMOUNT)?;
        if is_calc {
            let time = amount.checked_mul(PS_PER_NS).filter(|time| *time <= MAX_AMOUNT);
            let message = || format!("the time {} ns is longer than {MAX_AMOUNT} ps", written.amount);
            amount = time.ok_or_else(|| Fault::at(place, message()))?;
        }
        let peer = match written.peer {
            None => 0,
            Some("-1") => ANY_SOURCE,
            Some(peer) => {
                let number = whole(peer).unwrap_or(u128::MAX);
                let known = u32::try_from(number).ok().filter(|peer| *peer < size);
                let message = || format!("rank {number} is not one of {size}, which count from 0");
                known.ok_or_else(|| Fault::at(place, message()))?
            }
        };
        let any_tag = written.tag == Some("-1");
        let tag = if any_tag { MAX_TAG } else { within(place, "the tag", written.tag.unwrap_or("0"), MAX_TAG)? };
        let cpu = within(place, "the cpu", written.cpu.unwrap_or("0"), MAX_CPU)?;
        if within(place, "the nic", written.nic.unwrap_or("0"), MAX_CPU)? > 0 {
            self.nics.add(line);
        }
        let position = self.open.as_ref().map_or(0, |rank| rank.ops.len());
        if let Some(label) = written.label {
            if RESERVED.contains(&label) {
                return Err(Fault::at(place, format!("\"{label}\" cannot be a label")));
            }
            if !self.labels.add(label, position as u32) {
                return Err(Fault::at(place, "the labels of the rank are longer than 4 GiB together"));
            }
        }
        self.ops += 1;
        if self.ops > self.most_ops || position >= u32::MAX as usize {
            return Err(Fault::at(place, format!("more than {} ops; replay a part of the trace", self.most_ops)));
        }
        if let Some(rank) = &mut self.open {
            let cpu = if is_calc { cpu as u8 } else { 0 };
            let any_tag = any_tag && written.kind == Kind::Recv;
            rank.ops.push(Op { amount, peer, tag: tag as u32, line, kind: written.kind, cpu, any_tag });
        }
        Ok(())
    }

    fn labelled(&self, place: Place, label: &str) -> Result<u32, Fault> {
        let message = "no op above in this rank has the label \"{}\"";
        self.labels.get(label).ok_or_else(|| Fault::quoting(place, label, message))
    }
}

fn next_comment(text: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find('/')?;
        let (before, comment) = text.split_at_checked(at)?;
        if comment.starts_with("/*") || comment.starts_with("//") {
            return Some((before, comment));
        }
        from = at + 1;
    }
}

/// 1 to 20 digits as a number.
fn whole(digits: &str) -> Option<u128> {
    digits.parse().ok()
}

fn within(place: Place, what: &str, text: &str, most: u64) -> Result<u64, Fault> {
    let value = text.parse().ok().filter(|value| *value <= most);
    value.ok_or_else(|| Fault::at(place, format!("{what} {text} is larger than {most}")))
}

/// What may stand around a statement: Unicode's white space, and the separators of ASCII.
fn is_space(sign: char) -> bool {
    sign.is_whitespace() || ('\x1c'..='\x1f').contains(&sign)
}
