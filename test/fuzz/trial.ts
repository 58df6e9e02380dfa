import { deepEqual } from 'node:assert/strict';
import { isCanonicalOf } from '../../core/image/canonical.js';
import { parseDump } from '../../core/image/dump-parser.js';
import { dumpLines } from '../../core/image/dump-writer.js';
import { readErofsFacts } from '../../core/image/erofs-facts.js';
import { factsOf, readTreeFacts } from '../../core/image/facts.js';
import { FormatError } from '../../core/image/format-error.js';
import { sourceOf } from '../../core/image/image-bytes.js';
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
  const bytes = subject.kind === 'dump' ? mutateDump(subject.bytes, random) : mutateImage(subject.bytes, random);
  const strict = random.below(2) === 0;
  let taken = take(subject.kind, bytes, strict);
  for (let attempt = 1; attempt < ATTEMPTS && taken.ms > MAX_MS; attempt += 1) taken = take(subject.kind, bytes, strict);
  if (taken.ms > MAX_MS) throw new Error(`${subject.name}: ${taken.ms.toFixed(0)} ms`);
  return { subject: subject.name, outcome: taken.outcome, ms: taken.ms };
}

/** What came out and how long it took; what was accepted is then held against itself, untimed. */
function take(kind: Subject['kind'], bytes: Uint8Array, strict: boolean): { outcome: string; ms: number } {
  const before = process.cpuUsage();
  const read = refusalOr(() => TAKE[kind](bytes, strict));
  const { user, system } = process.cpuUsage(before);
  const ms = (user + system) / 1000;
  return { outcome: typeof read === 'string' ? read : read(), ms };
}

type Take = (bytes: Uint8Array, strict: boolean) => string | (() => string);
const TAKE: Readonly<Record<Subject['kind'], Take>> = { image: takeImage, dump: takeDump, erofs: takeErofs };

function takeErofs(bytes: Uint8Array): string {
  const { entries } = readErofsFacts(sourceOf(bytes));
  if (entries > bytes.length) throw new Error('more names were counted than the image can hold');
  return 'judged';
}

function pickSubject(subjects: readonly Subject[], random: Random): Subject {
  let left = random.below(subjects.reduce((sum, subject) => sum + subject.weight, 0));
  for (const subject of subjects) {
    left -= subject.weight;
    if (left < 0) return subject;
  }
  throw new Error('there is nothing to damage');
}

/** The rule that was broken, or what is left to check. */
function refusalOr(act: () => string | (() => string)): string | (() => string) {
  try {
    return act();
  } catch (error) {
    if (error instanceof FormatError) return error.rule;
    throw error;
  }
}

function takeImage(bytes: Uint8Array, strict: boolean): string | (() => string) {
  const { root, version } = readImage(bytes, { hugeFiles: !strict });
  requireSameFacts(bytes, root, strict);
  if (!isCanonicalOf(bytes, { root, version })) return 'taken';
  // What a canonical image holds must survive its dump; the size of other dumps is not bounded by that of the image.
  return () => {
    requireSame(bytes, writeImage(parseDump(dumpOf(root)), version), root);
    return 'canonical';
  };
}

/** What is taken as a tree is taken without one, too. */
function requireSameFacts(bytes: Uint8Array, root: Node, strict: boolean): void {
  const { objects: _, ...facts } = factsOf(root);
  try {
    deepEqual(readTreeFacts(bytes, { hugeFiles: !strict }), facts);
  } catch (error) {
    throw new Error(`the facts differ without the tree: ${String(error)}`, { cause: error });
  }
}

function takeDump(bytes: Uint8Array, strict: boolean): string | (() => string) {
  const root = parseDump(bytes, { strict });
  const version = chooseVersion(root);
  const plan = planImage(root, version);
  if (plan.size > 1 << 24) return 'large';
  const image = new Uint8Array(plan.size);
  plan.write(image);
  return () => requireReadable(image);
}

function requireReadable(image: Uint8Array): string {
  try {
    readImage(image, { hugeFiles: true });
    return 'read back';
  } catch (error) {
    // A file that claims to be an escaped whiteout makes the one kind of image that is written and not read.
    if (error instanceof FormatError && error.rule.startsWith('whiteout')) return 'written';
    throw new Error(`the reader refuses what was written: ${String(error)}`, { cause: error });
  }
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
