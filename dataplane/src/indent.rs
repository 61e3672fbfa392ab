//! Compact JSON with a line for each value, as Python's `json.dumps(…, indent=2)` lays it out, which has no implementation in C for
//! that and takes four times as long.

/// Spaces to a level.
const STEP: usize = 2;

/// Lay out a document that has no spaces between its tokens. Text that is not JSON is not made JSON by it.
pub fn indent(compact: &str) -> String {
    let mut text = String::with_capacity(compact.len() * 2);
    let mut depth = 0;
    let mut rest = compact;
    while let Some(at) = rest.find(['"', '{', '}', '[', ']', ',', ':']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let (token, after) = from.split_at(1);
        rest = after;
        match token {
            "\"" => {
                let (string, after) = rest.split_at(string_length(rest));
                text.push_str(token);
                text.push_str(string);
                rest = after;
            }
            ":" => text.push_str(": "),
            "," => {
                text.push_str(token);
                new_line(&mut text, depth);
            }
            "{" | "[" => {
                text.push_str(token);
                if rest.starts_with(['}', ']']) {
                    let (token, after) = rest.split_at(1);
                    text.push_str(token);
                    rest = after;
                } else {
                    depth += 1;
                    new_line(&mut text, depth);
                }
            }
            _ => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push_str(token);
            }
        }
    }
    text.push_str(rest);
    text
}

/// The length of a string with the quotation mark that ends it.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 1)
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', STEP * depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_line() {
        let laid_out = "{\n  \"a\": [\n    1,\n    -2.5e-7\n  ],\n  \"b\": {},\n  \"c\": [\n    [],\n    null\n  ]\n}";
        assert_eq!(indent(r#"{"a":[1,-2.5e-7],"b":{},"c":[[],null]}"#), laid_out);
        assert_eq!([indent("7"), indent("[]"), indent(r#""x""#)], ["7", "[]", r#""x""#]);
    }

    #[test]
    fn strings_stay_as_they_are() {
        let strings = r#"["{,:}[]","a\"b,","\\","µ\\\"→"]"#;
        let lines = "[\n  \"{,:}[]\",\n  \"a\\\"b,\",\n  \"\\\\\",\n  \"µ\\\\\\\"→\"\n]";
        assert_eq!(indent(strings), lines);
    }
}
