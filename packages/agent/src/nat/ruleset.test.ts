import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { hostRuleset, marks, type HostTables } from './ruleset.ts';

const tables: HostTables = {
  networks: [
    { cidr: '10.208.0.0/20', gateway: '10.208.0.1', masquerade: true, internal: false },
    { cidr: '10.208.16.0/20', gateway: '10.208.16.1', masquerade: false, internal: false },
    { cidr: '10.208.32.0/20', gateway: '10.208.32.1', masquerade: true, internal: true },
    { cidr: 'fd00:1::/64', gateway: 'fd00:1::1', masquerade: true, internal: false },
  ],
  published: [
    { protocol: 'tcp', hostAddress: '', hostPort: 8080, address: '10.208.0.2', port: 80 },
    { protocol: 'tcp', hostAddress: '', hostPort: 8080, address: 'fd00:1::2', port: 80 },
    { protocol: 'udp', hostAddress: '192.0.2.1', hostPort: 53, address: '10.208.0.3', port: 5353 },
    { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 9000, address: '10.208.0.3', port: 9000 },
    { protocol: 'sctp', hostAddress: '::', hostPort: 99, address: 'fd00:1::2', port: 99 },
  ],
  interfaces: ['tap0'],
};

/** The kernel reads the text, in a network namespace that ends with the command, and lists what it understood. */
function listed(text: string): string {
  return execFileSync('unshare', ['--net', 'sh', '-c', 'nft -f - && nft list table inet bulkhead'], {
    input: text,
    encoding: 'utf8',
  });
}

test('the marks are those of the programs', () => {
  const directory = new URL('../../../../bpf/', import.meta.url);
  const headers = readdirSync(directory).filter((name) => name.endsWith('.h'));
  const header = headers.map((name) => readFileSync(new URL(name, directory), 'utf8')).join('');
  const value = (name: string) => Number(new RegExp(`\\b${name} = (0x[0-9a-f]+)`).exec(header)?.[1]);
  assert.deepEqual({ ...marks }, { mask: value('mark_mask'), workload: value('mark_workload') });
});

test('nft takes the table, and an empty one', () => {
  const text = listed(hostRuleset(tables));
  assert.match(text, /ip saddr 10\.208\.0\.0\/20 oifname != "bhw\*" oifname != "tap0" masquerade/);
  assert.doesNotMatch(text, /ip saddr 10\.208\.16\.0\/20 .*masquerade/);
  assert.doesNotMatch(text, /ip saddr 10\.208\.32\.0\/20 .*masquerade/);
  assert.match(listed(hostRuleset({ networks: [], published: [], interfaces: [] })), /iifname "bhw\*" .*drop/);
});

test('nft takes as many interfaces as a host has', () => {
  const interfaces = Array.from({ length: 4096 }, (_, index) => `tap${index}`);
  const text = listed(hostRuleset({ ...tables, interfaces }));
  assert.match(text, /oifname != "bhw\*" oifname != \{[^}]*"tap4095"[^}]*\} masquerade/);
  assert.match(
    text,
    /iifname \{[^}]*"tap4095"[^}]*\} meta mark & 0x00003000 == 0x00000000 counter packets 0 bytes 0 drop/,
  );
});

test('a port published on loopback is open to the host alone', () => {
  const text = listed(hostRuleset(tables));
  const chain = (name: string) => text.slice(text.indexOf(`chain ${name} {`)).split('\n\t}')[0]!;
  assert.doesNotMatch(chain('published'), /127\.0\.0\.1/);
  assert.match(chain('published_local'), /127\.0\.0\.1 \. tcp \. 9000 : 10\.208\.0\.3 \. 9000/);
});

test('drops come before accepts, for every interface', () => {
  const text = hostRuleset(tables);
  for (const name of ['bhw*', 'tap0']) {
    assert.ok(
      text.indexOf(`iifname "${name}" meta mark & 0x3000 == 0 counter drop`) <
        text.indexOf(`oifname "${name}" ct status dnat accept`),
    );
    assert.ok(text.includes(`oifname "${name}" counter drop`));
  }
});

test('nothing but what the types say gets into the text', () => {
  const bad = fc.string().filter((text) => /[;{}"\n\s]/.test(text));
  fc.assert(
    fc.property(bad, fc.constantFrom('cidr', 'gateway', 'interface', 'address', 'hostAddress'), (text, place) => {
      const [network] = tables.networks;
      const [port] = tables.published;
      const wrong: HostTables = {
        networks: [
          { ...network!, ...(place === 'cidr' ? { cidr: text } : place === 'gateway' ? { gateway: text } : {}) },
        ],
        published: [
          {
            ...port!,
            ...(place === 'address' ? { address: text } : place === 'hostAddress' ? { hostAddress: text } : {}),
          },
        ],
        interfaces: place === 'interface' ? [text] : [],
      };
      assert.throws(() => hostRuleset(wrong));
    }),
  );
});
