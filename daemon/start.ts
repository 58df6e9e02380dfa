// Puts the service together and takes it apart again.
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { OwnedFd } from '../core/kernel/fd.js';
import { inheritedFds } from '../core/kernel/inherited.js';
import { openAccounts } from './accounts.js';
import { createCallerFds, type CallerFds } from './closer.js';
import type { Config } from './config.js';
import { openCopies } from './copies.js';
import { createDispatcher } from './dispatch.js';
import { createFactsFinder } from './facts.js';
import { probeFeatures } from './features.js';
import { keepSuperblocks } from './kept-superblocks.js';
import { isOfLedger, openLedger } from './ledger.js';
import { listenOn } from './listen.js';
import type { Log } from './log.js';
import { trackMountsInMaking } from './making.js';
import { createMeasurer } from './measure.js';
import { notify, startWatchdog } from './notify.js';
import { createParking } from './parking.js';
import { createAuthority } from './polkit.js';
import { openPolicy } from './policy-holder.js';
import { watchPolicy, type PolicyWatch } from './policy-watch.js';
import { createReloading } from './reloading.js';
import type { Service } from './service.js';
import { serveBus, type BusServer } from './transport/bus.js';
import { serveDirect, type DirectServer } from './transport/direct.js';
import { startWorkers, type Discard } from './worker/pool.js';

export interface Running {
  reload(): void;
  /** True if a call started it, and would again. */
  readonly isActivated: boolean;
  /** True when nobody uses the service: no client, nothing lately, and no live mount that would not be known afterwards. */
  isIdle(forMs: number): boolean;
  stop(): Promise<void>;
}

const DEFAULT_REPOSITORIES = ['/var/lib/cfsmountd/repo', '/sysroot/composefs'];
const SYSTEM_BUS = '/run/dbus/system_bus_socket';

/** What a worker made for a request that has been given up. */
const discard: Discard = (_kind, result) => {
  if ('mount' in result) OwnedFd.adopt(result.mount).close();
  if ('namespace' in result) {
    OwnedFd.adopt(result.namespace).close();
    OwnedFd.adopt(result.directory).close();
  }
};

/** Socket path of the bus to serve; undefined for none. */
function busPath(bus: string): string | undefined {
  if (bus === 'none') return undefined;
  if (bus === 'system') {
    const address = process.env['DBUS_SYSTEM_BUS_ADDRESS'];
    if (address) return socketOfAddress(address);
    return existsSync(SYSTEM_BUS) ? SYSTEM_BUS : undefined;
  }
  return socketOfAddress(bus);
}

function socketOfAddress(address: string): string {
  const match = /^unix:(path|abstract)=([^,;]+)/.exec(address);
  if (!match) throw new Error(`bus address ${address} is not of the form unix:path=…`);
  return (match[1] === 'abstract' ? '\0' : '') + decodeURIComponent(match[2]!);
}

/** Who sent a descriptor over the bus is not known yet when it must be closed: one that hangs stops those after it only so often. */
function busPayer(callerFds: CallerFds): () => string {
  const most = 32;
  let turn = 0;
  return () => {
    if (turn < most && callerFds.isStuck(`bus ${turn}`)) turn++;
    return `bus ${turn}`;
  };
}

/** The watch is a convenience: where the kernel has no more of them, the daemon goes on without. */
function watchOrSay(directories: readonly string[], onChange: () => void, log: Log): PolicyWatch | undefined {
  try {
    return watchPolicy(directories, onChange);
  } catch (error) {
    log.warn({ reason: String(error) }, 'policy files are not watched; cfsctl reload has them read again');
    return undefined;
  }
}

/** Starts everything; returns when calls are answered. `programDirectory` holds the worker's script and the helper. */
export async function start(config: Config, programDirectory: string, log: Log): Promise<Running> {
  // From before the policy is read, so that no change is missed.
  let isReady = false;
  let changed = false;
  const onChange = (): void => (isReady ? reloadAndNotify('file watch') : void (changed = true));
  const watching = watchOrSay([...config.policyDirectories, ...config.keyDirectories], onChange, log);
  const policy = openPolicy({
    directories: config.policyDirectories,
    keyDirectories: config.keyDirectories,
    repositories: config.repositories,
    defaultRepositories: DEFAULT_REPOSITORIES,
  });
  const inherited = inheritedFds();
  const sockets = inherited.filter((one) => !isOfLedger(one));
  const workers = await startWorkers(join(programDirectory, 'cfsmountd-worker.cjs'), discard, (error) =>
    log.error({ err: error }, 'a worker thread died'),
  );
  const callerFds = createCallerFds(workers);
  const copies = openCopies(config.stateDirectory);
  const parking = createParking(workers, join(programDirectory, 'cfsmountd-park'));
  const measurer = createMeasurer(workers, copies);
  const kept = keepSuperblocks();
  const ledger = openLedger(inherited.filter(isOfLedger), (reason) => {
    log.warn({ reason }, 'mounts handed out before this start are not known any more, and count against no limit');
  });
  const accounts = openAccounts(ledger, (event, mount) => {
    log.debug({ mount: mount.id.toString(), uid: mount.uid, digest: mount.digest }, event);
  });
  const features = await probeFeatures(copies, workers);
  let authorize = createAuthority(undefined);
  const reloading = createReloading({ log, policy, accounts, watch: watching, forget: () => kept.clear() });
  const service: Service = {
    log,
    features,
    workers,
    parking,
    copies,
    measurer,
    facts: createFactsFinder(workers),
    kept,
    accounts,
    inMaking: trackMountsInMaking(),
    authorize: (caller, question) => authorize(caller, question),
    current: policy.current,
    hold: policy.hold,
    reload: reloading.reload,
  };
  const dispatch = createDispatcher(service);
  const listeners = sockets.length > 0 ? sockets.map(({ fd }) => fd) : [listenOn(config.socket)];
  const servers: (DirectServer | BusServer)[] = listeners.map((listener) => serveDirect(listener, dispatch, callerFds, log));
  const bus = busPath(config.bus);
  let stopping = false;
  if (bus !== undefined) {
    const server = await serveBus(bus, dispatch, callerFds.closerFor(busPayer(callerFds)), (reason) => {
      // The service manager starts us again; live mounts go on, and calls on the bus start us too.
      if (!stopping) throw new Error(`the bus went away: ${reason}`);
    });
    authorize = createAuthority(server.connection);
    servers.push(server);
  }
  const watchdog = startWatchdog();
  notify('READY=1');
  log.info(
    { socket: config.socket, inherited: sockets.length, mounts: accounts.count(), bus: bus ?? 'none', features: [...features] },
    'ready',
  );
  isReady = true;
  if (changed) reloadAndNotify('file watch');

  function reloadAndNotify(cause: 'SIGHUP' | 'file watch'): void {
    notify(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
    reloading.reloadFor(cause);
    notify('READY=1');
  }

  return {
    isActivated: sockets.length > 0 || process.env['DBUS_STARTER_ADDRESS'] !== undefined,
    reload: () => reloadAndNotify('SIGHUP'),
    isIdle(forMs) {
      const limit = Date.now() - forMs;
      const quiet = servers.every((server) => server.lastActivity() < limit);
      const mayForget = accounts.count() === 0 || ledger.outlivesExit;
      return quiet && mayForget && servers.every((server) => !('count' in server) || server.count() === 0);
    },
    async stop() {
      stopping = true;
      notify('STOPPING=1');
      clearInterval(watchdog);
      watching?.stop();
      for (const server of servers) server.close();
      if (sockets.length === 0) await rm(config.socket, { force: true });
      parking.close();
      await workers.close();
      kept.close();
      measurer.close();
      accounts.close();
      copies.close();
      policy.close();
    },
  };
}
