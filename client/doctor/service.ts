// The service, its policy, and what this kernel allows it.
import { RequestError } from '../../core/wire/errors.js';
import { VERSION } from '../../core/wire/version.js';
import type { ConnectOptions } from '../connect.js';
import { lackingOf, purposeOf, tierOf } from '../features.js';
import { type ServiceStatus, connect } from '../mount-client.js';
import { formatCount } from '../output.js';
import { type Finding, fail, ok, warn } from './finding.js';

export function checkService(options: ConnectOptions): Finding[] {
  try {
    using client = connect(options);
    const status = client.status();
    return [
      judgeVersion(status, client.address),
      judgeKernel(status),
      judgePolicy(status),
      judgeImages(client.listImages().length),
    ];
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return [fail('service', error.message, error.hint ?? 'look at `journalctl -u cfsmountd`')];
  }
}

function judgeVersion({ version }: ServiceStatus, address: string): Finding {
  if (version === VERSION) return ok('service', `cfsmountd ${version} answers on ${address}`);
  return warn(
    'service',
    `cfsmountd ${version} answers, and this is cfsctl ${VERSION}`,
    'sudo systemctl restart cfsmountd.service',
  );
}

/** Lacking, the objects of images cannot be checked by the kernel: a repository has to be declared trusted. */
const VERITY = ['overlay-verity', 'fs-verity'];

export function judgeKernel({ features }: Pick<ServiceStatus, 'features'>): Finding {
  const tier = tierOf(features);
  if (!features.includes('erofs'))
    return fail('kernel', tier, 'use a kernel with EROFS (modprobe erofs says whether there is one)');
  if (tier.startsWith('plain')) return fail('kernel', tier, 'use Linux 6.5 or newer for composefs images (modprobe overlay)');
  const [missing] = lackingOf(features).filter((feature) => VERITY.includes(feature));
  if (missing === undefined) return ok('kernel', tier);
  return warn(
    'kernel',
    `${tier}; not here: ${purposeOf(missing)}`,
    'use Linux 6.6 or newer with fs-verity, on ext4 or btrfs; or a repository with objects = "trusted"',
  );
}

function judgePolicy({ policy }: ServiceStatus): Finding {
  if (policy.rules > 0) return ok('policy', formatCount(policy.rules, 'rule'));
  return fail('policy', 'no rule: nothing may be mounted', 'sudo cfsctl policy trust IMAGE --name NAME');
}

function judgeImages(count: number): Finding {
  if (count > 0) return ok('images', `you may mount ${formatCount(count, 'image')} by name`);
  return warn(
    'images',
    'there is none that you may mount by name',
    'sudo cfsctl oci import SOURCE NAME, and sudo cfsctl policy trust NAME --name NAME',
  );
}
