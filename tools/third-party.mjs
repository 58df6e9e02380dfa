// The licences of what is shipped inside or beside the bundles.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const OUTSIDE = ['koffi']; // not bundled, but shipped

function describePackage(name) {
  const directory = join('node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const file = readdirSync(directory).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
  const text =
    file === undefined
      ? `Its package names the licence ${license}, and holds no text of it.\n`
      : readFileSync(join(directory, file), 'utf8');
  const title = `${name} ${version} (${license})`;
  return `${title}\n${'-'.repeat(title.length)}\n\n${text.trim()}\n`;
}

/** `inputs`: paths of all source files that were bundled. */
export function thirdPartyNotices(inputs) {
  const bundled = inputs.flatMap((path) => /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []);
  const packages = [...new Set([...bundled, ...OUTSIDE])].sort();
  return `cfsmountd is shipped with the following packages of others.\n\n${packages.map(describePackage).join('\n\n')}`;
}
