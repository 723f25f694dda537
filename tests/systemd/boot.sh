#!/bin/sh
# Boots a real systemd as PID 1 of its own namespaces, on a copy-on-write view of this machine's root whose changes lie
# in memory and are gone with it. It runs in the foreground and ends when standard input is closed. Root only.
#
# The first line of output is "booted PID": the pid of that systemd, seen from here. Commands run inside by
#   nsenter --target PID --mount --pid --uts --ipc --cgroup --root --wd COMMAND
# The network is the machine's own. The first argument is a folder where the view is put together; the others are folders
# that are to be seen inside as they are outside, read-only, whatever file system they lie on.
set -eu
folder=$1
mkdir -p "$folder"

# PID 1 of the new namespaces: makes the view, then becomes systemd.
inside='
set -eu
folder=$1
shift
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=1g floorgate-test "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" floorgate-test "$folder/root"
root=$folder/root
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
# The kernel is shared: none of its switches can be turned from inside.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -o remount,bind,ro "$root/sys"
mount -t tmpfs -o mode=0755,nosuid dev "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
# A unit with PrivateDevices= copies these too, and does not start without ptmx.
mkdir "$root/dev/shm" "$root/dev/pts" "$root/dev/mqueue" "$root/dev/hugepages"
mount -t devpts -o newinstance,mode=0620,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
umount -l "$root/sys/fs/cgroup" 2>/dev/null || true
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755,nosuid run "$root/run"
# Nothing of the machine is to be started a second time: only what the tests ask for.
rm -rf "$root"/etc/systemd/system/*.wants "$root/var/log/journal"
# Nor is what a gateway of this machine has, or a look at a server with it: each test begins with nothing.
rm -rf "$root/etc/floorgate" "$root/var/lib/floorgate"
: >"$root/etc/fstab"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in getty.target systemd-udevd.service systemd-udev-trigger.service systemd-networkd.service \
    systemd-resolved.service systemd-timesyncd.service systemd-logind.service systemd-tmpfiles-setup.service systemd-sysctl.service systemd-modules-load.service \
    systemd-binfmt.service systemd-random-seed.service systemd-remount-fs.service sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
for visible; do
    mkdir -p "$root$visible"
    mount --bind "$visible" "$root$visible"
    mount -o remount,bind,ro "$root$visible"
done
cd "$root"
mkdir -p mnt/old
pivot_root . mnt/old
umount -l /mnt/old
# As on a booted machine: the credentials of a unit are mounted by a process in a namespace of its own.
mount --make-rshared /
exec env -i container=floorgate-test PATH="$PATH" /lib/systemd/systemd --unit=multi-user.target </dev/null >/dev/null 2>&1
'
# A control group of its own, whose remains can be told from others: the namespace makes it the root of the view.
controls=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)
group=$controls/floorgate-test-$$
mkdir "$group"
outer=
clean() {
    [ -z "$outer" ] || kill -KILL "$outer" 2>/dev/null || true
    tries=0
    until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ $tries -ge 100 ]; do
        tries=$((tries + 1))
        sleep 0.05
    done
    rmdir "$folder" 2>/dev/null || true
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

exec 3<&0
sh -c 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"' enter "$group" \
    unshare --pid --fork --mount --uts --ipc --cgroup --kill-child sh -c "$inside" boot "$@" </dev/null 3<&- &
outer=$!
tries=0
until pid=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null) && [ -n "$pid" ]; do
    tries=$((tries + 1))
    [ $tries -lt 500 ] || exit 1
    sleep 0.01
done
echo "booted ${pid% }"
cat <&3 >/dev/null
