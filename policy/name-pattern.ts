// Patterns for names of images: `*` stands for any characters within a part of a name, `?` for one; `**` as the last part, for everything below.
const PART = /^[A-Za-z0-9._*?-]+$/;
const MAX_PATTERN = 255;

/** Says what is wrong with a pattern; undefined if nothing is. */
export function describeBadPattern(pattern: string): string | undefined {
  const parts = pattern.split('/');
  if (pattern.length > MAX_PATTERN) return `a pattern has at most ${MAX_PATTERN} characters`;
  if (!parts.every((part) => PART.test(part))) return 'a pattern is parts of A-Z a-z 0-9 _ . - * ? joined by /';
  if (parts.slice(0, -1).some((part) => part.includes('**'))) return '** may only be the last part of a pattern';
  const last = parts.at(-1)!;
  return last.includes('**') && last !== '**' ? '** may only be a part of its own' : undefined;
}

export function matchesName(pattern: string, name: string): boolean {
  const [patterns, parts] = [pattern.split('/'), name.split('/')];
  const below = patterns.at(-1) === '**';
  if (below) patterns.pop();
  if (below ? parts.length <= patterns.length : parts.length !== patterns.length) return false;
  return patterns.every((part, index) => matchesPart(part, parts[index]!));
}

/** Goes back to the last `*` alone, so that it takes no more steps than the product of both lengths. */
function matchesPart(pattern: string, text: string): boolean {
  let [p, t, star, resume] = [0, 0, -1, 0];
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p;
      resume = t;
      p += 1;
    } else if (pattern[p] === '?' || pattern[p] === text[t]) {
      p += 1;
      t += 1;
    } else if (star >= 0) {
      resume += 1;
      p = star + 1;
      t = resume;
    } else return false;
  }
  while (pattern[p] === '*') p += 1;
  return p === pattern.length;
}
