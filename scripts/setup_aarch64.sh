#!/bin/sh
# Installs what the `aarch64` preset needs, for this user only: an arm64 sysroot, the compiler's run-time library for
# that target, and a QEMU that knows SME2. Everything is fetched by package name through a private apt configuration
# (the mirrors and the keyrings are those of this host) and unpacked into one directory: the host's packages, sources
# and foreign architectures stay as they are, and no root is needed.
#
#   SMEPILOT_AARCH64_DIR   where to (default ~/.cache/smepilot/aarch64); the toolchain file reads the same variable
#   SMEPILOT_DEBIAN_MIRROR Debian mirror to use instead of the one in the host's apt configuration
#
# Runs in under a minute; does nothing when the directory is already what this script would make.
set -eu

die() { echo "setup_aarch64: $*" >&2; exit 1; }

dir=${SMEPILOT_AARCH64_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/smepilot/aarch64}
llvm=22
qemu_suite=trixie-backports  # the release proper has QEMU 10, which lacks SME2
sysroot_packages="libc6-dev libstdc++-12-dev libgcc-12-dev libclang-rt-$llvm-dev
  libsqlite3-dev libfmt-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libhwloc-dev libgtest-dev libbenchmark-dev"

for tool in apt-get dpkg-deb tar "clang++-$llvm" "ld.lld-$llvm" cmake pkg-config; do
  command -v "$tool" >/dev/null || die "$tool not found; packages needed: clang-$llvm lld-$llvm llvm-$llvm cmake pkg-config ninja-build (Debian)"
done

stamp=$(cksum <"$0" | tr ' ' -)
if [ -f "$dir/stamp" ] && [ "$(cat "$dir/stamp")" = "$stamp" ] && [ -x "$dir/bin/qemu-aarch64" ]; then
  echo "setup_aarch64: $dir is up to date"
  exit 0
fi

mkdir -p "$dir"
work=$(mktemp -d "$dir/setup.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

# One line per archive of the host: "URI suite component".
archives=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | sort -u)
main=$(echo "$archives" | awk '$2 ~ /^(bookworm|trixie)$/ && $3 == "main" {print $1, $2; exit}')
uri=${SMEPILOT_DEBIAN_MIRROR:-${main% *}}
suite=${main#* }
[ -n "$uri" ] || die "no Debian archive in this host's apt configuration; set SMEPILOT_DEBIAN_MIRROR to a mirror's URI"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keyring" ] || die "$keyring not found; package needed: debian-archive-keyring"
signed="[signed-by=$keyring]"

# private_apt <name> <architecture>: prepares an empty apt world in $work/<name>; its sources come from stdin.
private_apt() {
  mkdir -p "$work/$1/lists/partial" "$work/$1/cache/archives/partial" "$work/$1/parts"
  : >"$work/$1/status"
  cat >"$work/$1/sources.list"
  cat >"$work/$1/apt.conf" <<CONF
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Dir::State "$work/$1";
Dir::State::lists "lists";
Dir::State::status "$work/$1/status";
Dir::Cache "$work/$1/cache";
Dir::Etc::sourcelist "$work/$1/sources.list";
Dir::Etc::sourceparts "$work/$1/parts";
Dir::Etc::preferencesparts "$work/$1/parts";
Dir::Log "$work/$1";
Debug::NoLocking "true";
CONF
  # APT_CONFIG is read before the host's own files, so lists would be merged: the options that must win go on the
  # command line.
  APT_CONFIG="$work/$1/apt.conf" apt-get -qq -o APT::Architecture="$2" -o Dir::Etc::sourceparts="$work/$1/parts" update
}

# unpack <package file> <directory>: like dpkg-deb -x, but keeps lib -> usr/lib.
unpack() { dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"; }

echo "setup_aarch64: sysroot from $uri $suite"
{
  echo "deb $signed $uri $suite main"
  echo "deb $signed $uri $suite-updates main"
  # The compiler's run-time library comes with security updates, as the compiler did.
  echo "$archives" | awk -v s="$signed" '$2 ~ /-security$/ && $3 == "main" {print "deb", s, $1, $2, $3}'
} | private_apt sysroot arm64
# shellcheck disable=SC2086  # a list of words
APT_CONFIG="$work/sysroot/apt.conf" apt-get -qq -y --download-only -o APT::Architecture=arm64 install $sysroot_packages \
  >/dev/null || die "cannot fetch the sysroot packages"
root="$work/new"
mkdir -p "$root/usr/lib" "$root/usr/bin" "$root/usr/sbin"
ln -s usr/lib usr/bin usr/sbin "$root/"
count=0
for deb in "$work"/sysroot/cache/archives/*.deb; do
  unpack "$deb" "$root"
  count=$((count + 1))
done
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root/var"
# Links to absolute paths point into the host when followed from outside: make them relative to the sysroot.
find "$root/usr" -type l -lname '/*' | while read -r link; do
  target=$(readlink "$link")
  ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$root$target")" "$link"
done
[ -e "$root/lib/ld-linux-aarch64.so.1" ] || die "the sysroot lacks its dynamic loader"

# clang looks for compiler-rt beside its own headers: a resource directory that joins both.
resource=$(clang++-$llvm -print-resource-dir)
mkdir -p "$work/clang"
ln -s "$resource/include" "$work/clang/include"
ln -s "../sysroot/usr/lib/llvm-$llvm/lib/clang/$llvm/lib" "$work/clang/lib"

echo "setup_aarch64: qemu-user from $uri $qemu_suite"
host=$(dpkg --print-architecture)
echo "deb $signed $uri $qemu_suite main" | private_apt qemu "$host"
(cd "$work/qemu" && APT_CONFIG="$work/qemu/apt.conf" apt-get -qq download qemu-user) >/dev/null ||
  die "cannot fetch qemu-user"
mkdir -p "$work/qemu/root" "$work/bin"
unpack "$work"/qemu/qemu-user_*.deb "$work/qemu/root"
cp "$work/qemu/root/usr/bin/qemu-aarch64" "$work/bin/"
"$work/bin/qemu-aarch64" --version | head -n 1

rm -rf "$dir/stamp" "$dir/sysroot" "$dir/clang" "$dir/bin"
mv "$root" "$dir/sysroot"
mv "$work/clang" "$dir/clang"
mv "$work/bin" "$dir/bin"
echo "$stamp" >"$dir/stamp"
echo "setup_aarch64: $count packages and QEMU in $dir ($(du -sh "$dir/sysroot" | cut -f1))"
