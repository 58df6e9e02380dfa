// All changes, or none: a user has half of them only if cfsctl is killed between two files.
import { RequestError } from '../../core/wire/errors.js';
import { type Asked, askPodman, findProgram } from '../ask-podman.js';
import { type Change, type Made, makeChange } from './change.js';
import { hasDriver } from './places.js';

/** Throws `RequestError`, and then none of them is made. */
export function makeChanges(changes: readonly Change[]): Made[] {
  const made: Made[] = [];
  for (const change of changes) {
    try {
      made.push(makeChange(change));
    } catch (error) {
      if (!(error instanceof RequestError) || made.length === 0) throw error;
      throw new RequestError('Failed', `${error.message}; there were changes before it, ${takeBack(made)}`, { cause: error });
    }
  }
  return made;
}

/** As `makeChanges`, and what podman then says is heard: if it does not start, all is as it was. */
export function makeChangesForPodman(changes: readonly Change[]): Made[] {
  // Without a storage driver podman would choose one, for good.
  const driver = hasDriver() ? [] : ['--storage-driver', 'overlay'];
  const made = makeChanges(changes);
  const because = changes.length === 0 || findProgram('podman') === undefined ? undefined : complaintOf(askPodman('info'));
  if (because === undefined) return made;
  const taken = takeBack(made);
  const without = complaintOf(askPodman(...driver, 'info'));
  if (without === undefined)
    throw new RequestError('Failed', `podman does not start with these changes, ${taken}: ${because}`, {
      hint: 'cfsctl doctor may know more',
    });
  throw new RequestError('Failed', `podman does not start, with these changes or without, ${taken}: ${without}`, {
    hint: 'podman info, and mend what it says; then run this again',
  });
}

function complaintOf(asked: Asked): string | undefined {
  return 'because' in asked ? asked.because : undefined;
}

/** The last is taken back first. Returns what became of it. */
function takeBack(made: readonly Made[]): string {
  const stuck = made.toReversed().filter((change) => !isTakenBack(change));
  return stuck.length === 0
    ? 'and they were taken back'
    : `and could not be taken back in ${stuck.map(({ path }) => path).join(', ')}`;
}

function isTakenBack(change: Made): boolean {
  try {
    change.takeBack();
    return true;
  } catch (error) {
    if (error instanceof RequestError) return false;
    throw error;
  }
}
