# Read by portcullis.js when a shell runs it: replaces the shell by node. $0 is that file, or a link to it.
# Looks for the pinned node of a checkout (or a global installation), then for that of a project which has this
# package among its dependencies, then for any on the PATH.

script=$(readlink -f "$0")
root=$(dirname "$(dirname "$script")")
for node in "$root/node_modules/.bin/node" "$root/../.bin/node"; do
  if [ -x "$node" ]; then exec "$node" "$script" "$@"; fi
done
if command -v node >/dev/null; then exec node "$script" "$@"; fi
echo 'portcullis: needs Node.js, which is neither beside the package nor on the PATH' >&2
exit 1
