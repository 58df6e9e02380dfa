// A bus with polkit and the service on it, and a rule that leaves an image to polkit.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { Actor } from './actor.js';
import { type Bus, startBus } from './bus.js';
import { type Daemon, startDaemon } from './daemon.js';
import { addToRepository, makeErofs, policyText } from './images.js';
import { POLKIT_BUS_FILE, type Polkit, startPolkit } from './polkit.js';
import { makeScratch } from './scratch.js';

export const ACTION = 'org.composefs.mount1.mount-image';
/** Whom the rules of polkit's let mount, whom they do not, and whom they say nothing about. */
export const GRANTED = 4741;
export const DENIED = 4742;
export const ASKED = 4743;

export type Transport = 'direct' | 'bus';

export interface PolkitSetting {
  readonly bus: Bus;
  polkit: Polkit;
  readonly daemon: Daemon;
  /** Path and digest of the image, which is `base` in the repository. */
  readonly image: string;
  readonly digest: string;
  /** Text of the policy. */
  readonly policy: string;
  addressOf(transport: Transport): string;
  restartPolkit(): Promise<void>;
  stop(): Promise<void>;
}

/** What polkit is told about the image must be true, or it says no. */
const rulesFor = (digest: string): string => `
polkit.addAdminRule(function() { return ["unix-user:0"]; });
polkit.addRule(function(action, subject) {
  if (action.id != "${ACTION}") return polkit.Result.NOT_HANDLED;
  if (action.lookup("digest") != "${digest}" || action.lookup("rule") != "left to polkit") return polkit.Result.NO;
  if ("test" + action.lookup("uid") != subject.user) return polkit.Result.NO;
  if (subject.user == "test${GRANTED}") return polkit.Result.YES;
  if (subject.user == "test${DENIED}") return polkit.Result.NO;
  return polkit.Result.NOT_HANDLED;
});
`;

const policyFor = (digest: string, repository: string): string =>
  policyText({ digests: [digest], repositories: { [repository]: 'trusted' }, conditions: `polkit = "${ACTION}"` }).replace(
    'name = "test"',
    'name = "left to polkit"',
  );

export async function startPolkitSetting(): Promise<PolkitSetting> {
  const scratch = makeScratch();
  const [image, repository] = [join(scratch.path, 'image.erofs'), join(scratch.path, 'repository')];
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  addToRepository(repository, image, 'base');
  const bus = await startBus(scratch.path, [GRANTED, DENIED, ASKED], [POLKIT_BUS_FILE]);
  const directory = join(scratch.path, 'polkit');
  mkdirSync(directory);
  const begin = (): Promise<Polkit> => startPolkit(directory, bus, rulesFor(digest));
  const polkit = await begin();
  const policy = policyFor(digest, repository);
  const daemon = await startDaemon({ policy, flags: ['--bus', bus.address] });
  const setting: PolkitSetting = {
    ...{ bus, polkit, daemon, image, digest, policy },
    addressOf: (transport) => (transport === 'bus' ? `bus:${bus.address}` : daemon.address),
    async restartPolkit() {
      setting.polkit = await begin();
    },
    async stop() {
      await daemon.stop();
      await setting.polkit.stop();
      await bus.stop();
      scratch.remove();
    },
  };
  return setting;
}

export interface MountAttempt {
  readonly address: string;
  /** Name of an image or, with a slash, path of a file. */
  readonly image: string;
  readonly timeoutMs?: number;
}

/** Mounts as an actor and lets go of the mount; returns 'mounted' or the code and the message of the refusal. Others may act meanwhile. */
export function tryMount(actor: Actor, attempt: MountAttempt): Promise<string> {
  return actor.do(async ({ client, file }, { address, image, timeoutMs = 60_000 }) => {
    const connection = client.connect({ address, timeoutMs });
    const fd = image.includes('/') ? file.openPath(image, file.O_RDONLY) : undefined;
    try {
      const { mount } = fd ? await connection.mountFileAsync(fd, []) : await connection.mountImageAsync(image);
      mount.close();
      return 'mounted';
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return `${code}: ${message}`;
    } finally {
      fd?.close();
      connection.close();
    }
  }, attempt);
}
