import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CommandFailure } from '../exit.ts';
import { chooseContext, contextFileText, localContext, parseContextFile } from './contexts.ts';

const text = `
current: production
contexts:
  production: {server: "https://manager.example:7443", tokenFile: /etc/token, caFile: /etc/ca.pem}
  laboratory: {server: "unix:///tmp/manager.sock"}
`;

describe('contexts', () => {
  const file = parseContextFile(text, 'config');

  test('without a file, this machine is meant', () => {
    assert.deepEqual(chooseContext(parseContextFile('', 'config'), {}), { name: 'local', ...localContext });
  });

  test('the current one, a named one, and flags over both', () => {
    assert.equal(chooseContext(file, {}).server, 'https://manager.example:7443');
    assert.equal(chooseContext(file, { context: 'laboratory' }).server, 'unix:///tmp/manager.sock');
    assert.equal(chooseContext(file, { context: 'local' }).server, localContext.server);
    assert.deepEqual(chooseContext(file, { context: 'production', tokenFile: '/other' }).tokenFile, '/other');
  });

  test('an address alone takes nobody else’s token along', () => {
    assert.deepEqual(chooseContext(file, { server: 'https://other:1' }), {
      name: 'https://other:1',
      server: 'https://other:1',
    });
  });

  test('what is wrong is said with its place', () => {
    assert.throws(() => chooseContext(file, { context: 'prodction' }), /no context "prodction"/);
    assert.throws(() => chooseContext(file, { server: 'http://plain:80' }), /must begin with https/);
    assert.throws(
      () => parseContextFile('contexts: {a: {server: "http://x"}}', 'config'),
      (error) =>
        error instanceof CommandFailure && error.exit === 'invalid' && error.faults[0]?.where === 'contexts.a.server',
    );
  });

  test('is written as it is read', () => {
    assert.deepEqual(parseContextFile(contextFileText(file), 'config'), file);
  });
});
