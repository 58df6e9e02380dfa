import { isCanonicalOf } from '../../core/image/canonical.js';
import { parseDump } from '../../core/image/dump-parser.js';
import { dumpLines } from '../../core/image/dump-writer.js';
import { factsOf } from '../../core/image/facts.js';
import { FormatError } from '../../core/image/format-error.js';
import { readImage } from '../../core/image/reader.js';
import type { Node } from '../../core/image/tree.js';
import { chooseVersion } from '../../core/image/version.js';
import { planImage, writeImage } from '../../core/image/writer.js';
import { mutateDump, mutateImage } from './mutate.js';
import { type Random, seededRandom } from './random.js';
import type { Subject } from './subjects.js';

const MAX_MS = 100;
/** Of processor time; the first attempts may have to wait for the compiler and the garbage collector. */
const ATTEMPTS = 4;

export interface TrialResult {
  readonly subject: string;
  /** The rule that was broken, or what the damage left. */
  readonly outcome: string;
  /** Processor time of the whole process. */
  readonly ms: number;
}

/** One damaged subject, chosen and damaged by `seed` alone. Throws if anything but a FormatError comes out, or if it takes too long. */
export function runTrial(subjects: readonly Subject[], seed: number): TrialResult {
  const random = seededRandom(seed);
  const subject = pickSubject(subjects, random);
  const bytes = subject.kind === 'image' ? mutateImage(subject.bytes, random) : mutateDump(subject.bytes, random);
  const strict = random.below(2) === 0;
  let outcome = '';
  let ms = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < ATTEMPTS && ms > MAX_MS; attempt += 1) {
    const before = process.cpuUsage();
    outcome = outcomeOf(() => (subject.kind === 'image' ? takeImage(bytes, strict) : takeDump(bytes, strict)));
    const { user, system } = process.cpuUsage(before);
    ms = Math.min(ms, (user + system) / 1000);
  }
  if (ms > MAX_MS) throw new Error(`seed ${seed}, ${subject.name}: ${ms.toFixed(0)} ms`);
  return { subject: subject.name, outcome, ms };
}

function pickSubject(subjects: readonly Subject[], random: Random): Subject {
  let left = random.below(subjects.reduce((sum, subject) => sum + subject.weight, 0));
  for (const subject of subjects) {
    left -= subject.weight;
    if (left < 0) return subject;
  }
  throw new Error('there is nothing to damage');
}

function outcomeOf(act: () => string): string {
  try {
    return act();
  } catch (error) {
    if (error instanceof FormatError) return error.rule;
    throw error;
  }
}

function takeImage(bytes: Uint8Array, strict: boolean): string {
  const read = readImage(bytes, { hugeFiles: !strict });
  factsOf(read.root);
  const canonical = isCanonicalOf(bytes, read);
  // What a canonical image holds must survive its dump; the size of other dumps is not bounded by that of the image.
  if (canonical) requireSame(bytes, writeImage(parseDump(dumpOf(read.root), { strict: false }), read.version), read.root);
  return canonical ? 'canonical' : 'taken';
}

function takeDump(bytes: Uint8Array, strict: boolean): string {
  const root = parseDump(bytes, { strict });
  const version = chooseVersion(root);
  // An escaped whiteout that the tree itself claims to have is the one tree whose image no reader takes.
  if (planImage(root, version).size > 1 << 24) return 'large';
  const image = writeImage(root, version);
  try {
    readImage(image, { hugeFiles: true });
  } catch (error) {
    if (error instanceof FormatError && error.rule.startsWith('whiteout')) return 'written';
    throw new Error(`the reader refuses what was written: ${String(error)}`, { cause: error });
  }
  return 'read back';
}

function dumpOf(root: Node): Uint8Array {
  return Buffer.from([...dumpLines(root)].join(''), 'latin1');
}

/** Equal unless the dump moved a primary name, which only links can cause. */
function requireSame(bytes: Uint8Array, again: Uint8Array, root: Node): void {
  if (Buffer.compare(bytes, again) === 0) return;
  if ([...dumpLines(root)].some((line) => line.includes(' @'))) return;
  throw new Error('a canonical image changed on its way through a dump');
}
