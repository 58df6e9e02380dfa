#!/bin/bash
# run-in-vm.sh [options] [--] COMMAND [ARG...]
# Boots the test VM, runs COMMAND as root in /tests, prints its output as it comes, exits with its status.
#   --share DIR    DIR's content appears in /tests (writable, thrown away; owners become root)
#   --out DIR      what the command leaves in /out is copied to DIR (1 GiB at most)
#   --timeout S    give up after S seconds (default 600): status 124
#   --disk FILE    the guest's disk is FILE, which keeps what is written: made anew if it is not there
#   --orderly      the guest is shut down as an administrator does it, not switched off
#   --mem MIB (3072)   --cpus N (2)   --append 'kernel args'   --exclude REGEX (of --share, repeatable)
# Status 125: the VM itself failed (its console log is shown). Without --disk the disk is a throw-away snapshot;
# the VM has no network device. VM_ACCEL=kvm|tcg overrides the choice of accelerator.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export VM_DIR=${VM_DIR:-/var/cache/cfsmountd-vm}
die() { echo "run-in-vm: $*" >&2; exit 125; }
share= out= limit=600 mem=3072 cpus=2 append= root= orderly= excl=()
while [ $# -gt 0 ]; do case $1 in
  --share) share=${2:?}; shift 2;; --out) out=${2:?}; shift 2;; --timeout) limit=${2:?}; shift 2;; --mem) mem=${2:?}; shift 2;;
  --cpus) cpus=${2:?}; shift 2;; --append) append=${2:?}; shift 2;; --disk) root=${2:?}; shift 2;; --orderly) orderly=yes; shift;;
  --exclude) excl+=("--exclude-regex=${2:?}"); shift 2;;
  --) shift; break;; -*) die "unknown option $1";; *) break;; esac; done
[ $# -gt 0 ] || die "no command given"
"$here/build-vm.sh" || die "the VM could not be built"
t=$(mktemp -d "${TMPDIR:-/tmp}/run-in-vm.XXXXXX") || die "no temporary directory"
catpid=; qpid=
finish() { [ -n "$qpid" ] && kill "$qpid" 2>/dev/null; [ -n "$catpid" ] && kill "$catpid" 2>/dev/null; rm -rf "$t"; }
trap finish EXIT; trap 'exit 130' INT; trap 'exit 143' TERM HUP

mkdir "$t/job"; { printf 'exec'; printf ' %q' "$@"; echo; } >"$t/job/job"
[ -z "$orderly" ] || touch "$t/job/orderly"
mkfs.erofs "$t/job.img" "$t/job" >"$t/mkfs.log" 2>&1 || { tail -5 "$t/mkfs.log" >&2; die "mkfs.erofs failed on the job"; }
disks=(); disk() { disks+=(-drive "file=$2,format=raw,if=none,id=$1,$3" -device "virtio-blk-pci,drive=$1,serial=$1"); }
if [ -n "$root" ]; then
  [ -e "$root" ] || cp --sparse=always "$VM_DIR/root.img" "$root" || die "cannot copy the disk to $root"
  disk root "$root" cache=unsafe
else disk root "$VM_DIR/root.img" snapshot=on,cache=unsafe; fi
disk job "$t/job.img" readonly=on
if [ -n "$share" ]; then
  [ -d "$share" ] || die "no directory $share"
  mkfs.erofs --all-root ${excl[@]+"${excl[@]}"} "$t/share.img" "$share" >"$t/mkfs.log" 2>&1 || { tail -5 "$t/mkfs.log" >&2; die "mkfs.erofs failed on $share"; }
  disk share "$t/share.img" readonly=on
fi
if [ -n "$out" ]; then mkdir -p "$out" || die "cannot make $out"; truncate -s 1G "$t/out.img"; disk out "$t/out.img" cache=unsafe; fi

# KVM only where the CPU really has it: a /dev/kvm without vmx or svm (PVM) interprets a stock kernel and hangs
accel=${VM_ACCEL:-}; [ -n "$accel" ] || { accel=tcg; [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo && accel=kvm; }
case $accel in kvm) am=(-accel kvm -cpu host);; tcg) am=(-accel tcg,thread=multi -cpu max);; *) die "VM_ACCEL=$accel";; esac
l=$VM_DIR/qemu/usr/lib/x86_64-linux-gnu; q=$VM_DIR/qemu
qemu=("$l/ld-linux-x86-64.so.2" --library-path "$l" "$q/usr/bin/qemu-system-x86_64" -L "$q/usr/share/qemu" -L "$q/usr/share/seabios")
export QEMU_MODULE_DIR=$l/qemu   # never the modules of a QEMU installed on the host
mkfifo "$t/out.fifo"; : >"$t/rc"; cat "$t/out.fifo" & catpid=$!
timeout -k 10 "$limit" "${qemu[@]}" -M q35 "${am[@]}" -m "$mem" -smp "$cpus" -nodefaults -no-user-config -display none -no-reboot -nic none \
  -kernel "$VM_DIR/vmlinuz" -initrd "$VM_DIR/initrd.gz" \
  -append "console=ttyS0 panic=-1 quiet mitigations=off apparmor=0 selinux=0 audit=0 systemd.show_status=0 systemd.unit=vm.target $append" \
  "${disks[@]}" -device virtio-rng-pci -device virtio-serial-pci \
  -chardev file,id=o,path="$t/out.fifo" -device virtserialport,chardev=o,name=vm.out \
  -chardev file,id=c,path="$t/rc" -device virtserialport,chardev=c,name=vm.rc \
  -serial file:"$t/console.log" </dev/null >"$t/qemu.log" 2>&1 &
qpid=$!; wait "$qpid"; code=$?; qpid=
sleep 0.1; kill -0 "$catpid" 2>/dev/null && [ $code != 0 ] && kill "$catpid" 2>/dev/null   # QEMU may have died before it opened the fifo
wait "$catpid" 2>/dev/null; catpid=
trouble() { echo "run-in-vm: $1; the end of the console:" >&2; tail -c 3000 "$t/console.log" 2>/dev/null | tr -d '\r' | tail -n 25 >&2; cat "$t/qemu.log" >&2; exit "$2"; }
[ $code = 124 ] || [ $code = 137 ] && trouble "no end within $limit s" 124
rc=$(cat "$t/rc"); [[ $rc =~ ^[0-9]+$ ]] || trouble "the VM ended (qemu status $code) without an exit status" 125
if [ -n "$out" ]; then tar -C "$out" --no-same-owner -xf "$t/out.img" || die "cannot unpack what the command left in /out"; fi
exit "$rc"
