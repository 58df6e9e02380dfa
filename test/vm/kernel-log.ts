// What the kernel said since the boot, without what is harmless.
import { run } from '../support/machine.js';

/** Lines of level warning and worse that are not about us, and why. */
const HARMLESS: readonly [line: RegExp, because: string][] = [
  [/^mtrr: your CPUs had inconsistent /, "of QEMU's firmware, at the boot"],
  [/^tsc: Unable to calibrate against PIT/, 'the clock is emulated, too'],
  [/^amd_pstate: the _CPC object is not present/, 'an emulated processor has no power states'],
  [
    /^(clocksource: Long readout interval|hrtimer: interrupt took |hpet: Lost \d+ RTC interrupts)/,
    'the emulator did not run for a while: a busy host',
  ],
  [
    /^overlayfs: lower file '.*' (has the wrong fs-verity digest|has no fs-verity digest)/,
    'asked for: objects that were swapped',
  ],
  [
    /^overlayfs: lazy lowerdata lookup failed \(.*, err=-(2|18|40)\)/,
    'asked for: objects removed, outside the store, or symlinks',
  ],
  [/^overlay: \S+\/l\/if not attached - run - .* is not a directory$/, 'asked for: a container of an image that is not attached'],
  [/: \d+ callbacks suppressed$/, 'there were more of the lines above'],
];

/** No level is needed for these. */
const ALWAYS_BAD =
  /WARNING:|BUG:|refcount_t|lockdep|Oops|Call Trace|KASAN|UBSAN|hung_task|blocked for more than|general protection/;

/** Lines that need an explanation. */
export function complaintsOfKernel(): string[] {
  const harmless = (line: string): boolean => HARMLESS.some(([pattern]) => pattern.test(line));
  const warnings = run('dmesg', '--notime', '--level=emerg,alert,crit,err,warn')
    .split('\n')
    .filter((line) => line !== '' && !harmless(line));
  const others = run('dmesg', '--notime')
    .split('\n')
    .filter((line) => ALWAYS_BAD.test(line));
  return [...new Set([...warnings, ...others])];
}
