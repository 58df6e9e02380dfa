#!/bin/bash
# Builds the test VM into $VM_DIR (default: /var/cache/cfsmountd-vm):
#   qemu/      QEMU 10 out of Debian trixie, run through its own dynamic loader
#   vmlinuz    Debian trixie cloud kernel (FS_VERITY=y, EROFS file-backed, overlay, userns)
#   initrd.gz  busybox + virtio_blk.ko, nothing else
#   root.img   ext4 (-O verity) with systemd, dbus, polkit, podman, node, erofs-utils, fsverity
# Idempotent: a part whose inputs (this script; for QEMU, its packages) did not change is kept.
# Needs root and apt only. --force rebuilds, --print-dir prints $VM_DIR.
set -euo pipefail
VM_DIR=${VM_DIR:-/var/cache/cfsmountd-vm}
SUITE=trixie
KERNEL_META=linux-image-cloud-amd64
ROOT_SIZE=${VM_ROOT_SIZE:-4G}
LIMIT=${VM_BUILD_LIMIT:-900}           # seconds for any one download-and-unpack step
PACKAGES=(
  systemd systemd-sysv udev kmod dbus dbus-user-session libpam-systemd libnss-systemd
  polkitd pkexec systemd-container systemd-userdbd
  podman crun uidmap fuse-overlayfs passt slirp4netns netavark aardvark-dns fuse3
  erofs-utils fsverity e2fsprogs fdisk squashfs-tools attr acl
  xfsprogs libglib2.0-bin libcap2-bin gdisk
  nodejs strace busybox-static iproute2 procps util-linux-extra ca-certificates zstd jq perl-base python3-minimal
)
MASKED=(
  getty@tty1.service serial-getty@ttyS0.service systemd-firstboot.service ldconfig.service
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
  fstrim.timer systemd-pstore.service systemd-hwdb-update.service systemd-journal-catalog-update.service
  systemd-update-done.service systemd-random-seed.service systemd-binfmt.service
  modprobe@configfs.service modprobe@drm.service sys-kernel-tracing.mount sys-kernel-debug.mount
  netavark-dhcp-proxy.socket netavark-dhcp-proxy.service netavark-firewalld-reload.service
  podman-auto-update.timer podman-clean-transient.service podman-restart.service
)
die() { echo "build-vm: $*" >&2; exit 1; }
say() { echo "build-vm: [${SECONDS}s] $*" >&2; }
force=
for a in "$@"; do case $a in --force) force=1;; --print-dir) echo "$VM_DIR"; exit 0;; *) die "unknown option $a";; esac; done
[ "$(id -u)" = 0 ] || die "must run as root"
[ "$(uname -m)" = x86_64 ] || die "only x86_64 is supported"
mkdir -p "$VM_DIR"
exec 9>"$VM_DIR/.lock"; flock -w "$LIMIT" 9 || die "another build holds $VM_DIR/.lock"

key=$( { cat "${BASH_SOURCE[0]}"; echo "$ROOT_SIZE"; } | sha256sum | cut -d' ' -f1)
if [ -z "$force" ] && [ "$(cat "$VM_DIR/stamp" 2>/dev/null)" = "$key" ]; then say "up to date in $VM_DIR"; exit 0; fi
free=$(df -Pk "$VM_DIR" | awk 'NR==2{print int($4/1024)}'); [ "$free" -ge 3000 ] || die "need 3000 MiB free in $VM_DIR, have $free"

# --- host packages (only what is missing)
need=(); for p in mmdebstrap e2fsprogs erofs-utils cpio xz-utils; do dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || need+=("$p"); done
if [ ${#need[@]} -gt 0 ]; then
  say "installing on the host: ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  timeout "$LIMIT" apt-get -qq -o DPkg::Lock::Timeout=300 update >"$VM_DIR/apt.log" 2>&1 || { tail -5 "$VM_DIR/apt.log" >&2; die "apt-get update failed"; }
  timeout "$LIMIT" apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${need[@]}" >>"$VM_DIR/apt.log" 2>&1 || { tail -5 "$VM_DIR/apt.log" >&2; die "apt-get install failed"; }
fi

# --- the mirror this machine is set up with; never written down here
mirror=${VM_MIRROR:-}
[ -n "$mirror" ] || mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
[ -n "$mirror" ] || mirror=$(awk '$1=="deb"{for(i=2;i<=NF;i++) if($i ~ /^https?:/){print $i; exit}}' /etc/apt/sources.list 2>/dev/null || true)
[ -n "$mirror" ] || die "no Debian mirror found in /etc/apt (set VM_MIRROR)"
bootstrap() { # bootstrap VARIANT PACKAGES TARGET LOG [options...]
  local variant=$1 pk=$2 target=$3 log=$4; shift 4
  rm -rf --one-file-system "$target"
  timeout "$LIMIT" mmdebstrap --variant="$variant" --include="$pk" --architectures=amd64 --components=main \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::Retries "3"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$@" "$SUITE" "$target" "$mirror" >"$log" 2>&1 </dev/null || { tail -15 "$log" >&2; die "mmdebstrap of $target failed (log: $log)"; }
}

# --- QEMU: bookworm's 7.2 crashes this kernel under multi-threaded TCG about one boot in three
qemu_parts=qemu-system-x86,libc6
if [ -n "$force" ] || [ "$(cat "$VM_DIR/qemu/.done" 2>/dev/null)" != "$SUITE $qemu_parts" ]; then
  say "unpacking QEMU from $SUITE"
  bootstrap extract "$qemu_parts" "$VM_DIR/qemu" "$VM_DIR/qemu.log"
  l=$VM_DIR/qemu/usr/lib/x86_64-linux-gnu
  "$l/ld-linux-x86-64.so.2" --library-path "$l" "$VM_DIR/qemu/usr/bin/qemu-system-x86_64" --version >/dev/null || die "the unpacked QEMU does not run"
  echo "$SUITE $qemu_parts" >"$VM_DIR/qemu/.done"
fi

# --- root file system
say "building the $SUITE root"
r=$VM_DIR/root.d
hook=$VM_DIR/hook.sh
cat >"$hook" <<'HOOK'
#!/bin/bash
# runs on the host, with the new root as $1, inside mmdebstrap
set -euo pipefail
r=$1; cd "$VM_DIR"; rm -rf kernel; mkdir kernel; cd kernel
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
k=$(apt-cache depends "$KERNEL_META" | awk '$1=="Depends:" && $2 ~ /^linux-image-/{print $2; exit}')
[ -n "$k" ] || { echo "no kernel behind $KERNEL_META"; exit 1; }
apt-get -qq -o APT::Sandbox::User=root download "$k"
dpkg-deb -x "$k"_*.deb x
mkdir -p "$r/usr/lib/modules"; m=x/usr/lib/modules; [ -d $m ] || m=x/lib/modules
cp -a $m/* "$r/usr/lib/modules/"; cp x/boot/config-* "$r/boot/"
kv=$(ls $m); chroot "$r" depmod "$kv"
for o in FS_VERITY=y EROFS_FS=[ym] EROFS_FS_BACKED_BY_FILE=y OVERLAY_FS=[ym] USER_NS=y BLK_DEV_LOOP=[ym] VIRTIO_CONSOLE=y EXT4_FS=y; do
  grep -qx "CONFIG_$o" x/boot/config-* || { echo "kernel lacks CONFIG_$o"; exit 1; }; done
cp x/boot/vmlinuz-* ../vmlinuz
mkdir -p ird/{bin,dev,proc,new}; cp "$r/usr/bin/busybox" ird/bin/; ln -s busybox ird/bin/sh
b=$(find "$r/usr/lib/modules/$kv" -name 'virtio_blk.ko*'); case $b in *.xz) xz -dc "$b";; *.zst) zstd -dqc "$b";; *) cat "$b";; esac >ird/virtio_blk.ko
cp "$VM_DIR/initrd-init" ird/init; chmod 755 ird/init
(cd ird && find . | cpio -o -H newc --quiet | gzip -1) >../initrd.gz
cd ..; rm -rf kernel
HOOK
cat >"$VM_DIR/initrd-init" <<'INIT'
#!/bin/sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev; $b mount -t proc proc /proc
$b insmod /virtio_blk.ko || { echo "initrd: cannot load virtio_blk"; $b poweroff -f; }
i=0; while [ ! -b /dev/vda ] && [ $i -lt 200 ]; do $b sleep 0.05; i=$((i+1)); done
$b mount -t ext4 /dev/vda /new || { echo "initrd: cannot mount the root"; $b poweroff -f; }
$b umount /proc; $b mount --move /dev /new/dev
exec $b switch_root /new /lib/systemd/systemd
INIT
chmod 755 "$hook"
export VM_DIR KERNEL_META
bootstrap minbase "$(IFS=,; echo "${PACKAGES[*]}")" "$r" "$VM_DIR/root.log" --customize-hook="$hook \"\$1\""

# --- configuration of the guest
echo vm >"$r/etc/hostname"; : >"$r/etc/machine-id"; printf '127.0.0.1 localhost vm\n' >"$r/etc/hosts"; : >"$r/etc/resolv.conf"
echo '/dev/vda / ext4 defaults 0 0' >"$r/etc/fstab"
for u in alice:1000 bob:1001; do chroot "$r" useradd -m -u "${u#*:}" -s /bin/bash "${u%:*}"; done   # each with 65536 subordinate ids
mkdir -p "$r/usr/local/lib/vm" "$r/etc/systemd/system/vm.target.wants" "$r/tests" "$r/var/log/journal"   # a journal that outlives a reboot
cat >"$r/usr/local/lib/vm/job" <<'JOB'
#!/bin/bash
# Runs the job on the "job" disk. Its output and its exit status leave through two virtio ports.
# udev makes the names, so wait until they are devices: opened too early, they would be plain files.
d=/dev/disk/by-id/virtio-; p=/dev/virtio-ports/vm.
for i in $(seq 600); do [ -c ${p}out ] && [ -c ${p}rc ] && [ -b ${d}job ] && break; sleep 0.1; done
exec >${p}out 2>&1 </dev/null
# Orderly: every service is stopped, as when an administrator reboots. This one as well: it must not wait for itself.
end() {
  echo "$1" >${p}rc; sync
  if [ -e /run/vm/job/orderly ]; then systemctl poweroff --no-block; else systemctl poweroff -ff >/dev/null 2>&1; fi
  exit 0
}
mkdir -p /run/vm/job /run/vm/share /run/vm/rw /out
mount -t erofs -o ro ${d}job /run/vm/job || { echo "vm: cannot mount the job disk"; end 125; }
if [ -b ${d}share ]; then
  mount -t erofs -o ro ${d}share /run/vm/share && mount -t tmpfs -o size=75% vmrw /run/vm/rw && mkdir /run/vm/rw/u /run/vm/rw/w &&
  mount -t overlay -o lowerdir=/run/vm/share,upperdir=/run/vm/rw/u,workdir=/run/vm/rw/w work /tests || { echo "vm: cannot mount the shared directory"; end 125; }
fi
cd /tests && HOME=/root bash /run/vm/job/job; rc=$?
[ -b ${d}out ] && { tar -C /out -cf ${d}out . || { echo "vm: cannot write the output disk"; rc=125; }; }
end $rc
JOB
cat >"$r/usr/local/bin/as-user" <<'ASUSER'
#!/bin/bash
# as-user NAME CMD...: run CMD as NAME with a systemd user manager and session bus, as a login would
u=$1; shift; id=$(id -u "$u") || exit 125
[ -S "/run/user/$id/bus" ] || { loginctl enable-linger "$u"; for i in $(seq 300); do [ -S "/run/user/$id/bus" ] && break; sleep 0.1; done; }
cd "/home/$u" && exec runuser -u "$u" -- env HOME="/home/$u" USER="$u" LOGNAME="$u" XDG_RUNTIME_DIR="/run/user/$id" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$id/bus" "$@"
ASUSER
chmod 755 "$r/usr/local/lib/vm/job" "$r/usr/local/bin/as-user"
cat >"$r/etc/systemd/system/vm.target" <<'UNIT'
[Unit]
Description=multi-user.target, then the job
Requires=multi-user.target
After=multi-user.target
AllowIsolate=yes
UNIT
cat >"$r/etc/systemd/system/vm-job.service" <<'UNIT'
[Unit]
Description=job handed in by run-in-vm.sh
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/local/lib/vm/job
TimeoutStartSec=infinity
Delegate=yes
[Install]
WantedBy=vm.target
UNIT
ln -sf ../vm-job.service "$r/etc/systemd/system/vm.target.wants/vm-job.service"
for u in "${MASKED[@]}"; do ln -sf /dev/null "$r/etc/systemd/system/$u"; done
for u in systemd-mountfsd systemd-nsresourced; do [ -e "$r/usr/lib/systemd/system/$u.socket" ] || die "$SUITE has no $u.socket"; done
{ chroot "$r" dpkg-query -W; ls "$r/usr/lib/modules"; } >"$VM_DIR/manifest.txt"

say "writing root.img"
rm -f "$VM_DIR/root.img.tmp"; truncate -s "$ROOT_SIZE" "$VM_DIR/root.img.tmp"
mkfs.ext4 -q -F -O verity -b 4096 -E lazy_itable_init=1,lazy_journal_init=1 -L vmroot -d "$r" "$VM_DIR/root.img.tmp" || die "mkfs.ext4 failed"
mv "$VM_DIR/root.img.tmp" "$VM_DIR/root.img"; rm -rf --one-file-system "$r"; rm -f "$hook" "$VM_DIR/initrd-init"
echo "$key" >"$VM_DIR/stamp"
say "done: $(du -sh "$VM_DIR" | cut -f1) in $VM_DIR"
