import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readMcpMessage } from '../../src/gateway/mcp-message.ts';

const read = (text: string) => readMcpMessage(Buffer.from(text));
const call = (params: string) => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`;

describe('a body that is one message', () => {
  it.each([
    ['{"jsonrpc":"2.0","id":1,"method":"tools/list"}', 'tools/list', null],
    [' {"params":{"cursor":"a"},"method":"tools/list","id":"x","jsonrpc":"2.0"}\n', 'tools/list', null],
    ['{"jsonrpc":"2.0","method":"notifications/initialized"}', 'notifications/initialized', null],
    [call('{"name":"search"}'), 'tools/call', 'search'],
    [call('{"arguments":{"name":"delete","Name":1,"n":[{"name":2}]},"name":"search"}'), 'tools/call', 'search'],
    [call('{"name":"se\\u0061rch \\"x\\" \\\\"}'), 'tools/call', 'search "x" \\'],
    ['{"jsonrpc":"2.0","method":"prompts/get","params":{"name":"p"}}', 'prompts/get', null],
    ['{"jsonrpc":"2.0","id":7,"result":{"method":"tools/call"}}', null, null],
    ['{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}', null, null],
    // Texts that look like the structure of a message.
    [call('{"name":"search","arguments":{"a":"\\",\\"name\\":\\"delete","b":"}{[]},:"}}'), 'tools/call', 'search'],
  ])('%s', (text, method, tool) => {
    expect(read(text)).toEqual({ method, tool });
  });
});

describe('a body that somebody could read in another way is refused:', () => {
  it.each([
    ['nothing', ''],
    ['no JSON', 'tools/list'],
    ['two messages', '{"jsonrpc":"2.0","method":"ping"}{"jsonrpc":"2.0","method":"tools/list"}'],
    ['something behind it', '{"jsonrpc":"2.0","method":"ping"} x'],
    ['a comment', '{"jsonrpc":"2.0",/**/"method":"ping"}'],
    ['a byte order mark', '\u{feff}{"jsonrpc":"2.0","method":"ping"}'],
    ['a batch', '[{"jsonrpc":"2.0","method":"ping"}]'],
    ['an empty batch', '[]'],
    ['a text', '"ping"'],
    ['null', 'null'],
    ['another version', '{"jsonrpc":"1.0","method":"ping"}'],
    ['no version', '{"method":"ping"}'],
    ['a method that is no text', '{"jsonrpc":"2.0","method":["tools/list"]}'],
    ['a method that is null', '{"jsonrpc":"2.0","method":null,"result":1}'],
    ['an empty method', '{"jsonrpc":"2.0","method":""}'],
    ['a very long method', `{"jsonrpc":"2.0","method":"${'m'.repeat(257)}"}`],
    ['half a surrogate pair', '{"jsonrpc":"2.0","method":"\\ud800"}'],
    ['neither method nor result', '{"jsonrpc":"2.0","id":1}'],
    ['a method and a result', '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}'],
    ['a result and an error', '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}'],
    ['a method twice', '{"jsonrpc":"2.0","method":"ping","method":"tools/call"}'],
    ['a method twice, once encoded', '{"jsonrpc":"2.0","method":"ping","meth\\u006fd":"tools/call"}'],
    ['a method in another case', '{"jsonrpc":"2.0","method":"ping","Method":"tools/call"}'],
    ['a method in another case alone', '{"jsonrpc":"2.0","METHOD":"tools/call","id":1,"result":{}}'],
    ['params in another case', '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"},"Params":{"name":"b"}}'],
    ['params twice', '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}'],
    ['params by position', call('["search"]')],
    ['params that are null', call('null')],
    ['no tool', call('{}')],
    ['a call without params', '{"jsonrpc":"2.0","method":"tools/call"}'],
    ['a tool that is no text', call('{"name":{"toString":"search"}}')],
    ['a tool twice', call('{"name":"search","name":"delete"}')],
    ['a tool in another case', call('{"name":"search","Name":"delete"}')],
    ['a tool with a long s', call('{"name":"search","NAME":"delete"}')],
    ['a member twice somewhere below', call('{"name":"search","arguments":{"a":[{"b":1,"b":2}]}}')],
    ['too many levels', call(`{"name":"search","arguments":${'['.repeat(200)}${']'.repeat(200)}}`)],
    ['an inherited method', '{"jsonrpc":"2.0","__proto__":{"method":"ping"}}'],
  ])('%s', (_, text) => {
    expect(read(text)).toEqual(expect.any(String));
  });

  it('a look-alike letter', () => {
    // U+017F is upper-cased to S, U+212A is lower-cased to k.
    expect(read('{"jsonrpc":"2.0","method":"ping","param\u017f":{}}')).toContain('spelled otherwise');
  });

  it('bytes that are not UTF-8', () => {
    const body = Buffer.from('{"jsonrpc":"2.0","method":"ping","x":"\xff"}', 'latin1');
    expect(readMcpMessage(body)).toContain('UTF-8');
    expect(readMcpMessage(Buffer.from('{"jsonrpc":"2.0","method":"ping"}', 'utf16le'))).toContain('UTF-8');
  });

  it('and no other: what is written without repetition reads as it was meant', () => {
    const member = fc
      .string({ unit: 'grapheme' })
      .filter((name) => !/^(jsonrpc|id|method|params|result|error|name)$/i.test(name));
    const others = fc.dictionary(member, fc.jsonValue({ maxDepth: 5 }));
    const folded = (value: object): number =>
      new Set(Object.keys(value).map((key) => key.toUpperCase().toLowerCase())).size;
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }).filter((text) => text.isWellFormed());
    fc.assert(
      fc.property(others, others, name, (outer, inner, tool) => {
        fc.pre(folded(outer) === Object.keys(outer).length && folded(inner) === Object.keys(inner).length);
        const message = { ...outer, jsonrpc: '2.0', method: 'tools/call', params: { ...inner, name: tool } };
        expect(read(JSON.stringify(message))).toEqual({ method: 'tools/call', tool });
      }),
      { numRuns: 300 },
    );
  });
});
