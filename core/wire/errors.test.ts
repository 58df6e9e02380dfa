import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERROR_CODES, RequestError, StandardError, codeOfErrorName, errorName, errorText, parseErrorReply } from './errors.js';
import { isInterfaceName } from './name-syntax.js';
import { quoteClientText } from './quote.js';

test('error names: ten, valid for D-Bus, and back to their code', () => {
  assert.deepEqual(
    ERROR_CODES.map((code) => errorName(code)),
    [
      'org.composefs.Mount1.Error.BadRequest',
      'org.composefs.Mount1.Error.BadImage',
      'org.composefs.Mount1.Error.NoSuchImage',
      'org.composefs.Mount1.Error.NotTrusted',
      'org.composefs.Mount1.Error.NotAuthorized',
      'org.composefs.Mount1.Error.BadUserNamespace',
      'org.composefs.Mount1.Error.QuotaExceeded',
      'org.composefs.Mount1.Error.NotSupported',
      'org.composefs.Mount1.Error.Timeout',
      'org.composefs.Mount1.Error.Failed',
    ],
  );
  for (const code of ERROR_CODES) {
    assert.ok(isInterfaceName(errorName(code)));
    assert.equal(codeOfErrorName(errorName(code)), code);
  }
});

test('names of other errors have no code of ours', () => {
  const unknown = new StandardError('UnknownMethod', 'no such method');
  assert.equal(errorName(unknown), 'org.freedesktop.DBus.Error.UnknownMethod');
  for (const name of [
    errorName(unknown),
    'org.composefs.Mount1.Error.',
    'org.composefs.Mount1.Error.toString',
    'BadRequest',
    '',
  ]) {
    assert.equal(codeOfErrorName(name), undefined);
    assert.equal(parseErrorReply(name, 'x'), undefined);
  }
});

test('message and hint travel in one string', () => {
  const error = new RequestError('NotTrusted', 'no rule trusts it', { hint: 'ask for a rule', cause: new Error('/secret') });
  assert.equal(errorText(error), 'no rule trusts it\nask for a rule');
  const read = parseErrorReply(errorName('NotTrusted'), errorText(error));
  assert.deepEqual([read?.code, read?.message, read?.hint], ['NotTrusted', 'no rule trusts it', 'ask for a rule']);
  assert.equal(parseErrorReply(errorName('Failed'), 'alone')?.hint, undefined);
});

test('client text is quoted in printable ASCII, at most 64 characters of it', () => {
  assert.equal(quoteClientText('a"b\\\n\u{1f600}é'), '"a\\"b\\\\\\u{a}\\u{1f600}\\u{e9}"');
  assert.equal(quoteClientText('x'.repeat(63)), `"${'x'.repeat(63)}"`);
  assert.equal(quoteClientText('x'.repeat(64)), `"${'x'.repeat(63)}…"`);
  for (const text of ['\n'.repeat(1e6), '\u{10ffff}'.repeat(100), '\ud800']) assert.ok(quoteClientText(text).length <= 66);
});
