/**
 * `bulkhead up` on a machine of its own: network and mount namespaces of the test, with empty run and state directories and a bpffs of
 * their own. Two network namespaces become workloads by `bulkhead attach`, and are judged by real programs in the real kernel.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const bulkhead = fileURLToPath(new URL('../../packages/cli/bulkhead', import.meta.url));
const floor = fileURLToPath(new URL('../../examples/trading-floor/policy', import.meta.url));

/** Each line `name code`; what the commands say goes to standard error. */
const script = `
mount -t tmpfs tmpfs /run && mkdir -p /run/netns /var/lib/bulkhead /var/log/bulkhead
mount -t tmpfs tmpfs /var/lib/bulkhead && mount -t tmpfs tmpfs /var/log/bulkhead && mount -t bpf bpf /sys/fs/bpf || exit 1
trap '"$BULKHEAD" down >&2' EXIT
ip link set lo up
try() { local what=$1; shift; "$@" >&2; echo "$what $?"; }
connects() { nsenter --net=/run/netns/$1 timeout 2 bash -c "exec 3<>/dev/tcp/$2/8080"; }
try up "$BULKHEAD" up --host uptest
try again "$BULKHEAD" up --host uptest
try apply "$BULKHEAD" apply -f "$FLOOR" --wait
for each in web:web:10.224.0.11 desk:trading-desk:10.224.0.12; do
  IFS=: read -r name app address <<<"$each"
  ip netns add $name
  try "attach-$name" "$BULKHEAD" attach $name --netns /run/netns/$name -l app=$app --ip $address
  nsenter --net=/run/netns/$name busybox nc -ll -p 8080 -e /bin/true &
  for attempt in {1..200}; do nsenter --net=/run/netns/$name ss -Hltn 'sport = :8080' | grep -q . && break; sleep 0.05; done
done
# The manager tells the identity of each a moment later; until then its packets are held, so connect() itself waits.
try allowed connects web 10.224.0.12
try denied connects desk 10.224.0.11
try workloads test "$("$BULKHEAD" get workloads --governance governed -o name | sort | tr '\\n' ' ')" = 'desk web '
try doctor "$BULKHEAD" doctor
"$BULKHEAD" down >&2
try still-allowed connects web 10.224.0.12
try still-denied connects desk 10.224.0.11
try unreachable "$BULKHEAD" status
kill $(jobs -p) 2>/dev/null
`;

function onOwnMachine(): Promise<ReadonlyMap<string, number>> {
  const args = [
    '--net',
    '--mount',
    '--pid',
    '--fork',
    '--mount-proc',
    '--propagation',
    'private',
    'bash',
    '-c',
    script,
  ];
  const env = { PATH: process.env['PATH'], BULKHEAD: bulkhead, FLOOR: floor, HOME: '/nowhere' };
  return new Promise((resolve, reject) => {
    execFile('unshare', args, { env, timeout: 150_000 }, (error, out, err) => {
      const lines = out
        .trim()
        .split('\n')
        .map((line) => line.split(' '));
      if (lines.length < 2) return reject(new Error(`the machine could not be made: ${err}`, { cause: error }));
      if (process.env['BULKHEAD_TEST_VERBOSE'] !== undefined) console.error(err);
      resolve(new Map(lines.map(([name, code]) => [name!, Number(code)])));
    });
  });
}

describe('a machine without Docker', { timeout: 180_000 }, () => {
  test('is brought up, judges attached namespaces, and goes on judging when it is down', async () => {
    const codes = await onOwnMachine();
    // 124: nothing came back until `timeout` ended the attempt.
    assert.deepEqual(Object.fromEntries(codes), {
      ...{ up: 0, again: 0, apply: 0, 'attach-web': 0, 'attach-desk': 0 },
      ...{ allowed: 0, denied: 124, workloads: 0, doctor: 0, 'still-allowed': 0, 'still-denied': 124, unreachable: 5 },
    });
  });
});
