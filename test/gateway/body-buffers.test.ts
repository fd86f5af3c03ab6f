import { describe, expect, it } from 'vitest';
import { BodyBuffers } from '../../src/gateway/body-buffers.ts';

const FULL = 64 * 1024;

describe('memory for the parts of bodies', () => {
  it('is used again for the next part, and what was copied stays as it is until then', () => {
    const buffers = new BodyBuffers();
    const part = Buffer.alloc(FULL, 'a');
    const first = buffers.copyOf(part);
    part.fill('b');
    const second = buffers.copyOf(part.subarray(0, FULL - 1));
    expect([first.bytes.length, first.bytes.every((byte) => byte === 0x61)]).toEqual([FULL, true]);
    expect([second.bytes.length, second.bytes.every((byte) => byte === 0x62)]).toEqual([FULL - 1, true]);
    const memory = first.bytes.buffer;
    first.written();
    expect(buffers.copyOf(part).bytes.buffer).toBe(memory);
  });

  it('is not used again after a write that failed: the bytes may still be looked at', () => {
    const buffers = new BodyBuffers();
    const part = Buffer.alloc(FULL, 'a');
    const first = buffers.copyOf(part);
    first.written(new Error('lost'));
    expect(buffers.copyOf(part).bytes.buffer).not.toBe(first.bytes.buffer);
  });

  it('is lent to one part at a time, however often it is given back', () => {
    const buffers = new BodyBuffers();
    const part = Buffer.alloc(FULL, 'a');
    const { written } = buffers.copyOf(part);
    written();
    written();
    expect(buffers.copyOf(part).bytes.buffer).not.toBe(buffers.copyOf(part).bytes.buffer);
  });

  it('is not much more than the parts: an answer in chunks of one byte holds no slot for each', () => {
    const buffers = new BodyBuffers();
    const memory = new Set<ArrayBufferLike>();
    for (let i = 0; i < 1000; i += 1) memory.add(buffers.copyOf(Buffer.from('x')).bytes.buffer);
    const held = [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(held).toBeLessThan(200_000);
  });

  it('is their own for parts that are longer than a slot', () => {
    const buffers = new BodyBuffers();
    const part = Buffer.alloc(FULL + 1, 'a');
    const { bytes, written } = buffers.copyOf(part);
    written();
    expect(bytes.equals(part)).toBe(true);
    expect(buffers.copyOf(part).bytes.buffer).not.toBe(bytes.buffer);
  });
});
