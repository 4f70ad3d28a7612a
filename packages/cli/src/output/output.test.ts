import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { printListing, stableJson } from './format.ts';
import { choosePaint, coloured, harmless, plain, steady, visibleWidth, withoutColours } from './paint.ts';
import { renderTable, type Column } from './table.ts';
import { createTerminal, progressLine, type Terminal } from './terminal.ts';
import { age, bytes, duration, labelsText, parseDuration, serviceText } from './units.ts';

interface Row {
  readonly name: string;
  readonly count: string;
}
const columns: readonly Column<Row>[] = [
  { title: 'NAME', value: (row) => row.name, shrinkTo: 6 },
  { title: 'COUNT', value: (row) => row.count, align: 'right' },
  { title: 'WHERE', value: () => 'here', wide: true },
];

function recorder(): { readonly terminal: Terminal; readonly out: string[]; readonly err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  const terminal: Terminal = {
    out: (line) => out.push(line),
    err: (line) => err.push(line),
    paint: plain,
    errPaint: plain,
    width: undefined,
    height: undefined,
    interactive: false,
    clear: () => undefined,
    progress: () => ({ update: () => undefined, end: () => undefined }),
  };
  return { terminal, out, err };
}

describe('tables', () => {
  test('are aligned, and wide columns show on demand', () => {
    const rows = [
      { name: 'desk', count: '7' },
      { name: 'orders-db', count: '1200' },
    ];
    assert.deepEqual(renderTable(rows, columns), ['NAME        COUNT', 'desk            7', 'orders-db    1200']);
    assert.deepEqual(renderTable(rows.slice(0, 1), columns, { wide: true }), [
      'NAME   COUNT   WHERE',
      'desk       7   here',
    ]);
  });

  test('fit the terminal by shortening what may be short', () => {
    const rows = [{ name: 'a-very-long-name-indeed', count: '1' }];
    const lines = renderTable(rows, columns, { columnsMax: 20 });
    assert.ok(
      lines.every((line) => visibleWidth(line) <= 20),
      lines.join('\n'),
    );
    assert.match(lines[1]!, /…/);
  });

  test('colours do not change the widths', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ name: fc.string(), count: fc.string() }), { maxLength: 8 }), (rows) => {
        const painted = columns.map((column) => ({ ...column, tone: () => 'good' as const }));
        const withTones = renderTable(rows, painted, { paint: coloured }).map((line) => withoutColours(line).trimEnd());
        assert.deepEqual(withTones, renderTable(rows, columns));
      }),
    );
  });

  test('what a workload calls itself cannot steer the terminal', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        const text = renderTable([{ name, count: '' }], columns, { heading: false }).join('');
        // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
        assert.doesNotMatch(text, /[\u0000-\u001F\u007F-\u009F\u202A-\u202E]/);
      }),
    );
    assert.equal(harmless('a\u001B[2Jb'), 'a\\u001b[2Jb');
  });
});

describe('forms of output', () => {
  const rows = [{ name: 'desk', count: '7' }];
  const listing = { rows, columns, name: (row: Row) => row.name, empty: 'nothing here' };

  test('JSON is an object with items, keys in order', () => {
    const { terminal, out } = recorder();
    printListing(terminal, 'json', listing);
    assert.deepEqual(JSON.parse(out.join('\n')), { items: [{ count: '7', name: 'desk' }] });
    assert.equal(stableJson({ b: 1, a: [{ d: 1, c: 2 }] }, 0), '{"a":[{"c":2,"d":1}],"b":1}');
  });

  test('an empty table is a sentence beside the results, not among them', () => {
    const { terminal, out, err } = recorder();
    printListing(terminal, 'table', { ...listing, rows: [] });
    assert.deepEqual([out, err], [[], ['nothing here']]);
  });

  test('names alone', () => {
    const { terminal, out } = recorder();
    printListing(terminal, 'name', listing);
    assert.deepEqual(out, ['desk']);
  });
});

describe('colours', () => {
  test('are for terminals, unless somebody says otherwise', () => {
    assert.equal(choosePaint({ isTTY: true }, {}), coloured);
    assert.equal(choosePaint({ isTTY: false }, {}), plain);
    assert.equal(choosePaint({ isTTY: true }, { NO_COLOR: '1' }), plain);
    assert.equal(choosePaint({ isTTY: true }, { TERM: 'dumb' }), plain);
    assert.equal(choosePaint({}, { FORCE_COLOR: '1' }), coloured);
  });
});

describe('a terminal', () => {
  test('shows our colours, and is steered by nothing else in a line', () => {
    assert.equal(steady(`${coloured('bad', 'deny')}\ttwo`), `${coloured('bad', 'deny')}\ttwo`);
    assert.equal(
      steady('a\u001B]0;title\u0007b\u001B[2J\u009B8m\u001B[8mz'),
      'a\\u001b]0;title\\u0007b\\u001b[2J\\u009b8m\\u001b[8mz',
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.equal(harmless(withoutColours(steady(text))), withoutColours(steady(text)));
      }),
    );
  });

  test('is guarded; a pipe gets what there is', () => {
    for (const isTTY of [true, false]) {
      const written: string[] = [];
      const stream = Object.assign(new Writable({ write: (chunk, _, done) => (written.push(String(chunk)), done()) }), {
        isTTY,
      });
      createTerminal(stream, stream, {}, {}).out('a\u001B[2J');
      assert.deepEqual(written, [isTTY ? 'a\\u001b[2J\n' : 'a\u001B[2J\n']);
    }
  });
});

describe('quantities', () => {
  test('read well', () => {
    assert.equal(age(0, 59_000), '59s');
    assert.equal(age(0, 3_600_000), '1h');
    assert.equal(age(0, 172_800_000), '2d');
    assert.equal(bytes(999), '999 B');
    assert.equal(bytes(1234), '1.2 KB');
    assert.equal(bytes(123_456_789), '123 MB');
    assert.equal(duration(0.421), '0.42 ms');
    assert.equal(duration(61_000), '1 min 1 s');
    assert.equal(serviceText(6, 5432), 'tcp/5432');
    assert.equal(serviceText(1, 8 * 256), 'icmp/8:0');
    assert.equal(serviceText(47, 0), 'ip/47');
    assert.equal(labelsText({ 'bulkhead.dev/host': 'a', app: 'web' }), 'app=web,bulkhead.dev/host=a');
    assert.equal(progressLine('images', 1, 2, 'web'), '[############............] 1/2 images: web');
  });

  test('durations are parsed, and nothing else is', () => {
    assert.equal(parseDuration('90s'), 90_000);
    assert.equal(parseDuration('1.5h'), 5_400_000);
    for (const wrong of ['', '5', '-1s', '1y', 's']) assert.equal(parseDuration(wrong), null);
  });
});
