// D-Bus specification, "Valid Names" and "Valid Object Paths". All of these expressions run in linear time.
const MAX_NAME = 255;
const OBJECT_PATH = /^(?:\/|(?:\/[A-Za-z0-9_]+)+)$/;
const INTERFACE = /^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+$/;
const MEMBER = /^[A-Za-z_][A-Za-z0-9_]*$/;
const UNIQUE_NAME = /^:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+$/;
const WELL_KNOWN_NAME = /^[A-Za-z_-][A-Za-z0-9_-]*(?:\.[A-Za-z_-][A-Za-z0-9_-]*)+$/;

/** The specification puts no limit on the length of a path; the size of the message does. */
export function isObjectPath(text: string): boolean {
  return OBJECT_PATH.test(text);
}

/** Error names have the same syntax. */
export function isInterfaceName(text: string): boolean {
  return text.length <= MAX_NAME && INTERFACE.test(text);
}

export function isMemberName(text: string): boolean {
  return text.length <= MAX_NAME && MEMBER.test(text);
}

export function isBusName(text: string): boolean {
  return text.length <= MAX_NAME && (UNIQUE_NAME.test(text) || WELL_KNOWN_NAME.test(text));
}
