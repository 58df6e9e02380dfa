// What is in an image, found out once for each digest: the digest stands for the very bytes.
import type { VerityDigest } from '../core/image/digest.js';
import type { ImageHeader } from '../core/image/superblock.js';
import { SyscallError } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { RequestError } from '../core/wire/errors.js';
import type { FoundFacts, FoundObjects, Job, Refusal } from './worker/jobs.js';
import type { Payer, WorkerPool } from './worker/pool.js';

/** An image whose bytes are fixed and have this digest. */
export interface FixedImage {
  readonly file: OwnedFd;
  readonly digest: VerityDigest;
  readonly header: Pick<ImageHeader, 'type'>;
}

export interface FactsOptions {
  /** Find out whether a composefs image is canonical, which takes three times as long. */
  readonly canonical: boolean;
  readonly user: Payer;
}

export interface FactsFinder {
  /** At once if they are known. Throws RequestError BadImage if the image cannot be read, now and ever. */
  find(image: FixedImage, options: FactsOptions): FoundFacts | Promise<FoundFacts>;
  /** Looks for the objects of a composefs image in stores, anew each time. The descriptors stay the caller's. */
  findObjects(image: FixedImage, stores: readonly OwnedFd[], user: Payer): Promise<FoundObjects>;
  /** Digests whose facts are known. */
  count(): number;
}

const MAX_KNOWN = 512;
/** For an image of 400,000 files with its canonical form, on a slow or busy host. Milliseconds. */
const FACTS_TIMEOUT = 120_000;

type Answer = FoundFacts | FoundObjects | Refusal;

function badImage(reason: string): RequestError {
  return new RequestError('BadImage', reason, { hint: 'make the image again, or ask its author' });
}

function requireRead<T extends Answer>(answer: T | Refusal): T {
  if ('refused' in answer) throw badImage(answer.refused);
  return answer;
}

function isOutOfMemory(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY';
}

export function createFactsFinder(workers: WorkerPool): FactsFinder {
  /** The one used last at the end. */
  const known = new Map<VerityDigest, FoundFacts | Refusal>();
  /** Being found out, for one user each: another's time-out is no answer. */
  const underWay = new Map<string, Promise<FoundFacts | Refusal>>();

  function remember(digest: VerityDigest, answer: FoundFacts | Refusal): void {
    known.delete(digest);
    known.set(digest, answer);
    if (known.size > MAX_KNOWN) known.delete(known.keys().next().value!);
  }

  /** Runs a job on duplicates that stay the daemon's: a thread that dies of an image closes nothing. */
  async function runOn<J extends Job>(fds: readonly OwnedFd[], user: Payer, makeJob: (numbers: number[]) => J) {
    const own: OwnedFd[] = [];
    const onReleased = (): void => own.forEach((fd) => fd.close());
    try {
      for (const fd of fds) own.push(fd.duplicate());
    } catch (error) {
      onReleased();
      throw error;
    }
    try {
      return await workers.run(makeJob(own.map(({ raw }) => raw)), { user, timeoutMs: FACTS_TIMEOUT, onReleased });
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      throw new RequestError('BadImage', 'the image could not be read to its end', { cause: error });
    }
  }

  /** Undefined if there is not enough memory for it. */
  async function findOut({ file, header: { type } }: FixedImage, canonical: boolean, user: Payer) {
    try {
      return await runOn([file], user, ([number]) => ({ kind: 'facts', file: number!, type, canonical }) as const);
    } catch (error) {
      if (isOutOfMemory(error)) return undefined;
      throw error;
    }
  }

  /** An image whose tree is too large to be compared with its canonical form has none, as far as anybody knows. */
  async function findOutOrRefuse(image: FixedImage, canonical: boolean, user: Payer): Promise<FoundFacts | Refusal> {
    const answer = await findOut(image, canonical, user);
    if (answer) return answer;
    const plain = canonical ? await findOut(image, false, user) : undefined;
    if (!plain) return { refused: 'the image takes more memory to read than there is for it' };
    return 'refused' in plain ? plain : { ...plain, canonical: false };
  }

  async function findOnce(image: FixedImage, canonical: boolean, user: Payer): Promise<FoundFacts> {
    const key = `${image.digest} ${canonical} ${user}`;
    let answer = underWay.get(key);
    if (!answer) {
      answer = findOutOrRefuse(image, canonical, user).finally(() => underWay.delete(key));
      underWay.set(key, answer);
    }
    const found = await answer;
    remember(image.digest, found);
    return requireRead(found);
  }

  return {
    find(image, { canonical: asked, user }) {
      const canonical = asked && image.header.type === 'composefs';
      const found = known.get(image.digest);
      if (!found || (canonical && !('refused' in found) && found.canonical === undefined))
        return findOnce(image, canonical, user);
      remember(image.digest, found);
      return requireRead(found);
    },
    async findObjects({ file }, stores, user) {
      try {
        const makeJob = ([number, ...others]: number[]) => ({ kind: 'objects', file: number!, stores: others }) as const;
        return requireRead(await runOn([file, ...stores], user, makeJob));
      } catch (error) {
        if (isOutOfMemory(error)) throw badImage('the image needs more objects than can be counted');
        throw error;
      }
    },
    count: () => known.size,
  };
}
