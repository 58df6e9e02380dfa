import { FormatError } from '../image/format-error.js';

export const MAX_NAME_BYTES = 255;
export const MAX_NAME_DEPTH = 8;
const COMPONENT = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

/** Refuses what cannot be the name of an image in a repository. Throws FormatError. */
export function requireImageName(text: string): string {
  if (text === '' || text.length > MAX_NAME_BYTES)
    throw new FormatError('name-length', `a name has 1 to ${MAX_NAME_BYTES} bytes`);
  const components = text.split('/');
  if (components.length > MAX_NAME_DEPTH) throw new FormatError('name-depth', `a name has at most ${MAX_NAME_DEPTH} parts`);
  if (!components.every((component) => COMPONENT.test(component))) {
    throw new FormatError('name-characters', 'a name is parts of A-Z a-z 0-9 _ . - joined by /, none starting with . or -');
  }
  return text;
}
