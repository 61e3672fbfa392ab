//! Statements of GOAL text, each of one line: what stands there, before anything of it is checked against the rank.

/// A message or a calc. Numbers are as they are written, 1 to 20 digits, or `-1` where that may stand.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Written<'a> {
    pub label: Option<&'a str>,
    pub kind: super::Kind,
    pub amount: &'a str,
    pub peer: Option<&'a str>,
    pub tag: Option<&'a str>,
    pub cpu: Option<&'a str>,
    pub nic: Option<&'a str>,
}

/// A statement within a rank.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Statement<'a> {
    Op(Written<'a>),
    /// `waiter` begins after the end of `required`, or, with `begun`, after its start.
    Requires {
        waiter: &'a str,
        required: &'a str,
        begun: bool,
    },
}

/// Read a statement; `None` if the text is not one.
pub fn parse(text: &str) -> Option<Statement<'_>> {
    let mut scan = Scan(text);
    let label = scan.optional(|scan| {
        let label = scan.label()?;
        scan.blanks();
        scan.word(":")?;
        scan.blanks();
        Some(label)
    });
    if let Some(written) = op(&mut scan, label) {
        return Some(Statement::Op(written));
    }
    requires(text)
}

/// The number of ranks in the head of a file.
pub fn num_ranks(text: &str) -> Option<&str> {
    let mut scan = Scan(text);
    scan.word("num_ranks")?;
    scan.blanks();
    let ranks = scan.digits()?;
    scan.end(ranks)
}

/// The number of a rank that opens, and what follows the brace.
pub fn rank(text: &str) -> Option<(&str, &str)> {
    let mut scan = Scan(text);
    scan.word("rank")?;
    scan.blanks();
    let rank = scan.digits()?;
    scan.blanks();
    scan.word("{")?;
    Some((rank, scan.0))
}

fn op<'a>(scan: &mut Scan<'a>, label: Option<&'a str>) -> Option<Written<'a>> {
    use super::Kind;
    let kinds = [("send", Kind::Send), ("recv", Kind::Recv), ("calc", Kind::Calc)];
    let kind = kinds.iter().find_map(|(word, kind)| scan.word(word).map(|()| *kind))?;
    scan.blanks();
    let amount = scan.digits()?;
    let mut written = Written { label, kind, amount, peer: None, tag: None, cpu: None, nic: None };
    if kind == Kind::Calc {
        written.cpu = scan.setting("cpu", Scan::digits);
        return scan.end(written);
    }
    scan.blanks();
    scan.word("b")?;
    scan.blanks();
    scan.word(if kind == Kind::Send { "to" } else { "from" })?;
    scan.blanks();
    written.peer = Some(if kind == Kind::Send { scan.digits()? } else { scan.digits_or_any()? });
    written.tag = scan.setting("tag", Scan::digits_or_any);
    written.cpu = scan.setting("cpu", Scan::digits);
    written.nic = scan.setting("nic", Scan::digits);
    scan.end(written)
}

fn requires(text: &str) -> Option<Statement<'_>> {
    let mut scan = Scan(text);
    let waiter = scan.label()?;
    scan.blank()?;
    let begun = scan.word("i").is_some();
    scan.word("requires")?;
    scan.blank()?;
    let required = scan.label()?;
    scan.end(Statement::Requires { waiter, required, begun })
}

/// What is left of a line.
struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches(is_blank);
    }

    /// One blank at least.
    fn blank(&mut self) -> Option<()> {
        let before = self.0.len();
        self.blanks();
        (self.0.len() < before).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool, most: usize) -> Option<&'a str> {
        let length = self.0.bytes().take(most).take_while(|byte| belongs(*byte)).count();
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (length > 0).then_some(taken)
    }

    fn digits(&mut self) -> Option<&'a str> {
        self.take(|byte| byte.is_ascii_digit(), 20)
    }

    fn digits_or_any(&mut self) -> Option<&'a str> {
        match self.word("-1") {
            Some(()) => Some("-1"),
            None => self.digits(),
        }
    }

    fn label(&mut self) -> Option<&'a str> {
        self.0.bytes().next().filter(u8::is_ascii_alphabetic)?;
        self.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_', usize::MAX)
    }

    /// What `read` finds, or all as it was.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Scan<'a>) -> Option<T>) -> Option<T> {
        let mut ahead = Scan(self.0);
        let found = read(&mut ahead)?;
        self.0 = ahead.0;
        Some(found)
    }

    /// The number behind a keyword, if that is what comes next.
    fn setting(&mut self, key: &str, read: impl FnOnce(&mut Scan<'a>) -> Option<&'a str>) -> Option<&'a str> {
        self.optional(|scan| {
            scan.blanks();
            scan.word(key)?;
            scan.blanks();
            read(scan)
        })
    }

    /// `found`, if nothing is left.
    fn end<T>(&self, found: T) -> Option<T> {
        self.0.is_empty().then_some(found)
    }
}

fn is_blank(sign: char) -> bool {
    matches!(sign, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
