/** Bytes or text do not have the form they must have. `rule` names the broken rule in kebab case and never changes its meaning; `message` is for people. */
export class FormatError extends Error {
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(message);
    this.name = 'FormatError';
    this.rule = rule;
  }
}
