import { kit, type Kit } from './kit.js';

interface Step {
  readonly id: number;
  readonly source: string;
  readonly argument: unknown;
}

function describe(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { code, hint } = error as Error & { code?: string; hint?: string };
  return { name: error.name, message: error.message, code, hint };
}

process.on('message', ({ id, source, argument }: Step) => {
  // oxlint-disable-next-line no-eval -- that is what an actor is for
  const step = (0, eval)(`(${source})`) as (kit: Kit, argument: unknown) => unknown;
  Promise.resolve()
    .then(() => step(kit, argument))
    .then(
      (value) => process.send!({ id, value }),
      (error: unknown) => process.send!({ id, error: describe(error) }),
    );
});
process.on('disconnect', () => process.exit(0));
process.send!({ pid: process.pid });
