// The escaped text is what is capped, so that a message made of it has a known size whatever the client sent.
const QUOTED_CHARS = 64;

/** Quotes text a client sent, for an error or a log: printable ASCII only, at most 64 characters between the quotes. */
export function quoteClientText(text: string): string {
  let quoted = '';
  for (const char of text) {
    const next = escapeChar(char);
    if (quoted.length + next.length > QUOTED_CHARS - 1) return `"${quoted}…"`;
    quoted += next;
  }
  return `"${quoted}"`;
}

function escapeChar(char: string): string {
  if (char === '"' || char === '\\') return `\\${char}`;
  if (char >= ' ' && char <= '~') return char;
  return `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
}
