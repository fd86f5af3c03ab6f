import { describe, expect, it } from 'vitest';
import { AnswerMemory } from '../../src/token/answer-memory.ts';

describe('what was said of tokens', () => {
  it('is forgotten, the oldest first, beyond a number and beyond a size', () => {
    const memory = new AnswerMemory<string>(3, 100, 1000);
    for (const [at, name] of ['a', 'b', 'c', 'd'].entries()) memory.put(name, name, at, 10);
    expect(['a', 'b', 'c', 'd'].map((name) => memory.get(name, 5))).toEqual([undefined, 'b', 'c', 'd']);
    memory.put('e', 'e', 6, 75);
    expect([memory.size, memory.get('c', 7), memory.get('e', 7)]).toEqual([3, 'c', 'e']);
    memory.put('f', 'f', 8, 200);
    expect(memory.size).toBe(0);
    memory.put('g', 'g', 9, 100);
    expect(memory.get('g', 9)).toBe('g');
  });

  it('said again counts once, and what is over makes room by itself', () => {
    const memory = new AnswerMemory<number>(100, 1000, 50);
    for (let at = 0; at < 1000; at += 1) memory.put('same', at, at, 900);
    expect([memory.size, memory.get('same', 1000)]).toEqual([1, 999]);
    for (let at = 2000; at < 2100; at += 1) memory.put(`t${at}`, at, at, 0);
    expect(memory.size).toBe(50);
    expect(memory.get('t2060', 2110)).toBe(undefined);
  });
});
