// A real polkitd on a bus of the test's own, with the service's action, rules of the test's and, if wanted, an agent that asks nobody.
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { encodeMethodReturn } from '../../core/wire/codec.js';
import { variant } from '../../core/wire/variants.js';
import { type BusConnection, openBus } from '../../daemon/transport/bus-connection.js';
import type { Bus } from './bus.js';
import { eventually } from './daemon.js';
import { ROOT } from './machine.js';
import { type Background, startInBackground } from './process.js';

/** What the bus is to include: who may be polkit. */
export const POLKIT_BUS_FILE = '/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf';
const POLKITD = '/usr/lib/polkit-1/polkitd';
const POLKIT = 'org.freedesktop.PolicyKit1';
const AUTHORITY = { path: '/org/freedesktop/PolicyKit1/Authority', interface: `${POLKIT}.Authority`, timeout: 10_000 };

export interface Polkit {
  /** Of polkitd itself. */
  readonly pid: number;
  stop(): Promise<void>;
}

/** The socket of a bus. */
export const socketOf = ({ address }: Bus): string => address.slice('unix:path='.length);

const nobody = () => ({ onCall: () => undefined, onLost: () => undefined });
const closeHere = (fd: number): void => {
  throw new Error(`nobody sends descriptors here: ${fd}`);
};

async function connect(bus: Bus, events = nobody()): Promise<BusConnection> {
  return openBus(socketOf(bus), events as Parameters<typeof openBus>[1], closeHere as never);
}

/** `rules` is JavaScript, as polkit has it. */
export async function startPolkit(directory: string, bus: Bus, rules: string): Promise<Polkit> {
  const [actions, rulesDirectory] = [join(directory, 'actions'), join(directory, 'rules.d')];
  for (const path of [actions, rulesDirectory]) mkdirSync(path, { recursive: true, mode: 0o755 });
  copyFileSync(join(ROOT, 'systemd/org.composefs.mount1.policy'), join(actions, 'org.composefs.mount1.policy'));
  writeFileSync(join(rulesDirectory, '10-test.rules'), rules);
  const binds = [
    [bus.passwd, '/etc/passwd'],
    [actions, '/usr/share/polkit-1/actions'],
    [rulesDirectory, '/usr/share/polkit-1/rules.d'],
  ].map(([from, to]) => `mount --bind ${from} ${to}`);
  const script = [...binds, 'mount -t tmpfs none /etc/polkit-1', `exec ${POLKITD}`].join(' && ');
  const daemon: Background = startInBackground(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script], {
    DBUS_SYSTEM_BUS_ADDRESS: bus.address,
  });
  const connection = await connect(bus);
  await eventually('polkitd has its name', async () => {
    if (daemon.process.exitCode !== null) throw new Error(`polkitd ended: ${daemon.stderr()}`);
    const [there] = await connection.callDriver('NameHasOwner', 's', [POLKIT]);
    return there === true;
  });
  connection.stream.close('done');
  return {
    pid: daemon.process.pid!,
    async stop() {
      daemon.process.kill('SIGCONT');
      await daemon.ended('SIGTERM');
    },
  };
}

/** One question that polkit put to the agent. */
export interface Asked {
  readonly action: string;
  readonly message: string;
  /** Says yes in root's name, as the set-uid program behind an agent does after it has checked a password. */
  grant(): Promise<void>;
  /** polkit has taken the question back. */
  cancelled: boolean;
}

export interface Agent {
  readonly asked: readonly Asked[];
  stop(): void;
}

const startTimeOf = (pid: number): bigint =>
  BigInt(readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/.*\) /s, '').split(' ')[19]!);

/** An agent for what one process asks: it remembers the questions. */
export async function startAgent(bus: Bus, pid: number): Promise<Agent> {
  const asked = new Map<string, Asked>();
  const open = new Map<string, () => void>();
  const connection: BusConnection = await openBus(
    socketOf(bus),
    {
      onLost: () => undefined,
      onCall({ header, body }, fds) {
        fds[Symbol.dispose]();
        const reply = { replySerial: header.serial, destination: header.sender };
        const answer = (): void => connection.stream.write(encodeMethodReturn({ serial: connection.nextSerial(), ...reply }));
        if (header.member === 'CancelAuthentication') {
          const cookie = String(body[0]);
          asked.get(cookie)!.cancelled = true;
          open.get(cookie)!();
          return answer();
        }
        const [action, message, , , cookie] = body as [string, string, string, unknown, string];
        open.set(cookie, answer);
        const identity = ['unix-user', [['uid', variant('u', 0)]]];
        asked.set(cookie, {
          action,
          message,
          cancelled: false,
          async grant() {
            const owner = String((await connection.callDriver('GetNameOwner', 's', [POLKIT]))[0]);
            const response = { ...AUTHORITY, destination: owner, member: 'AuthenticationAgentResponse2' };
            const respond = async (user: number): Promise<unknown> =>
              await connection.call({ ...response, signature: 'us(sa{sv})', body: [user, cookie, identity] });
            // Whose agent it is: who registered it, and from polkit 125 the user of the process that it is for.
            await respond(0).catch(async () => await respond(statSync(`/proc/${pid}`).uid));
            answer();
          },
        });
      },
    },
    closeHere as never,
  );
  const [owner] = await connection.callDriver('GetNameOwner', 's', [POLKIT]);
  const process = [
    ['pid', variant('u', pid)],
    ['start-time', variant('t', startTimeOf(pid))],
  ];
  const body = [['unix-process', process], 'C', '/agent'];
  await connection.call({
    ...AUTHORITY,
    destination: String(owner),
    member: 'RegisterAuthenticationAgent',
    signature: '(sa{sv})ss',
    body,
  });
  return {
    get asked() {
      return [...asked.values()];
    },
    stop: () => connection.stream.close('done'),
  };
}
