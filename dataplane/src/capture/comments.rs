//! Comments on frames of a capture that is written: a copy of it with them, in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::blocks::{option, AROUND_BYTES, ENHANCED_PACKET, OPTION_COMMENT, OPTION_END, SECTION_HEADER};
use super::story::Story;

/// The longest text of an option.
const MOST_BYTES: usize = 4_000;
const END_BYTES: usize = 4;

/// Let the file at `path` have these stories as comments, each with the number of its frame, in ascending order.
///
/// What is no file on a disk stays without them, and so does one that has no room for a copy beside it: then that is the error.
pub fn insert(path: &Path, names: &[Vec<String>], stories: Vec<(u64, Story)>, omitted: u64) -> Result<()> {
    let facts = fs::metadata(path)?;
    if stories.is_empty() || !facts.is_file() {
        return Ok(());
    }
    let path = fs::canonicalize(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let copy = || {
        // What an earlier run left there when it was killed, or what somebody else put there, is not written through.
        let _ = fs::remove_file(part);
        let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
        copy_with(File::open(&path)?, &out, names, &stories, omitted)?;
        fs::set_permissions(part, facts.permissions())?;
        fs::rename(part, &path)
    };
    copy().inspect_err(|_| drop(fs::remove_file(part)))
}

fn copy_with(file: File, out: &File, names: &[Vec<String>], stories: &[(u64, Story)], omitted: u64) -> Result<()> {
    let (mut reader, mut writer) = (BufReader::with_capacity(1 << 18, file), BufWriter::with_capacity(1 << 18, out));
    let (mut number, mut next, mut body) = (0, 0, Vec::new());
    while let Some(kind) = read_block(&mut reader, &mut body)? {
        if kind == SECTION_HEADER && omitted > 0 {
            option(&mut body, OPTION_COMMENT, format!("comments left out, of later frames: {omitted}").as_bytes());
            option(&mut body, OPTION_END, &[]);
        }
        if kind == ENHANCED_PACKET {
            let end = next + stories[next..].iter().take_while(|(at, _)| *at == number).count();
            if end > next {
                let texts: Vec<String> = stories[next..end].iter().map(|(_, story)| story.text(names)).collect();
                let text = texts.join("; ");
                body.truncate(body.len() - END_BYTES);
                option(&mut body, OPTION_COMMENT, &text.as_bytes()[..text.floor_char_boundary(MOST_BYTES)]);
                option(&mut body, OPTION_END, &[]);
            }
            (number, next) = (number + 1, end);
        }
        let length = (body.len() as u32 + AROUND_BYTES).to_le_bytes();
        writer.write_all(&kind.to_le_bytes())?;
        writer.write_all(&length)?;
        writer.write_all(&body)?;
        writer.write_all(&length)?;
    }
    writer.flush()
}

/// Read a block that was written here; `None` at the end.
fn read_block(reader: &mut impl Read, body: &mut Vec<u8>) -> Result<Option<u32>> {
    let mut word = [0; 4];
    match reader.read_exact(&mut word) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let kind = u32::from_le_bytes(word);
    reader.read_exact(&mut word)?;
    let length = u32::from_le_bytes(word).checked_sub(AROUND_BYTES);
    body.resize(length.ok_or_else(|| Error::from(ErrorKind::InvalidData))? as usize, 0);
    reader.read_exact(body)?;
    reader.read_exact(&mut word)?;
    Ok(Some(kind))
}
