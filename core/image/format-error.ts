/** A place in a text file: both count from 1; the column counts bytes. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** Bytes or text do not have the form they must have. `rule` names the broken rule in kebab case and never changes its meaning; `message` is for people. */
export class FormatError extends Error {
  readonly rule: string;
  /** Where in a text the fault is; its message starts with it. Undefined for binary formats. */
  readonly position: TextPosition | undefined;

  constructor(rule: string, message: string, position?: TextPosition) {
    super(position === undefined ? message : `line ${position.line}, column ${position.column}: ${message} (${rule})`);
    this.name = 'FormatError';
    this.rule = rule;
    this.position = position;
  }
}
