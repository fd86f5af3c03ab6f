import { describe, expect, it } from 'vitest';
import { grantsScope, parseGrantedScope, parseRequiredScope, scopesWithin } from '../../src/policy/scope.ts';

describe('what a granted scope covers', () => {
  it.each([
    ['orders:read', 'orders:read', true],
    ['orders:*', 'orders:read', true],
    ['orders:*', 'orders:read:all', true],
    ['orders:read:*', 'orders:read:all', true],
    ['orders:*', 'orders', false],
    ['orders:*', 'orders:', false],
    ['orders:*', 'ordersx:read', false],
    ['orders:read', 'orders:Read', false],
    ['orders*', 'orders:read', false],
    ['*:read', 'orders:read', false],
    ['orders:*:all', 'orders:read:all', false],
    ['*', 'orders:read', false],
    ['*', '*', false],
    [':*', ':x', false],
    ['', '', true],
    ['', 'a', false],
  ])('%s for %s: %s', (granted, required, expected) => {
    expect(grantsScope(granted, required)).toBe(expected);
  });
});

describe('whether requested scopes lie within bounds', () => {
  it.each([
    [['a:b', 'a:*', 'a:b:*'], ['a:*'], true],
    [['a:*'], ['a:b'], false],
    [['a:*'], ['a:b', 'a:c'], false],
    [['a'], ['a:*'], false],
    [['*'], ['a:*'], false],
    [['*', 'anything'], ['*'], true],
    [[], [], true],
    [['a'], [], false],
  ])('%j within %j: %s', (requested, bounds, expected) => {
    expect(scopesWithin(requested, bounds)).toBe(expected);
  });
});

describe('how scopes are written', () => {
  it.each(['orders:read', '!#[]~', 'urn:a/b?c'])('%s can be required (RFC 6749 §3.3)', (text) => {
    expect(parseRequiredScope(text)).toEqual({ ok: true, value: text });
  });

  it.each(['', 'a b', 'a"b', 'a\\b', 'ä', 'a\tb', 'orders:*', '*'])('%j cannot be required', (text) => {
    expect(parseRequiredScope(text).ok).toBe(false);
  });

  it('a wildcard is granted at the end, alone only to class admin', () => {
    expect(parseGrantedScope('orders:*', false)).toEqual({ ok: true, value: 'orders:*' });
    expect(parseGrantedScope('*', true)).toEqual({ ok: true, value: '*' });
    for (const text of ['*', 'orders*', '*:read', ':*', 'a:*:b']) expect(parseGrantedScope(text, false).ok).toBe(false);
  });
});
