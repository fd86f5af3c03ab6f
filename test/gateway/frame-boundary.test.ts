import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameBoundary } from '../../src/gateway/frame-boundary.ts';

/** A frame as RFC 6455 §5.2 draws it; `form` is the length of its length, which need not be the shortest. */
function frame(opcode: number, payload: number, form: 7 | 16 | 64, masked: boolean): Buffer {
  const fits = form === 7 ? payload < 126 : form === 16 ? payload < 65_536 : true;
  const width = fits ? form : 64;
  const length = Buffer.alloc(width === 7 ? 0 : width / 8);
  if (width === 16) length.writeUInt16BE(payload);
  if (width === 64) length.writeBigUInt64BE(BigInt(payload));
  const second = (masked ? 0x80 : 0) | (width === 7 ? payload : width === 16 ? 126 : 127);
  // What looks like a header of something else inside a payload must not matter.
  return Buffer.concat([Buffer.from([0x80 | opcode, second]), length, Buffer.alloc((masked ? 4 : 0) + payload, 0x88)]);
}

const anyFrame = fc
  .record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    payload: fc.oneof(fc.nat(10), fc.nat(300), fc.constantFrom(125, 126, 127, 65_535, 65_536)),
    form: fc.constantFrom(7 as const, 16 as const, 64 as const),
    masked: fc.boolean(),
  })
  .map(({ opcode, payload, form, masked }) => frame(opcode, payload, form, masked));

describe('the boundary of frames', () => {
  it('is where each frame ends and nowhere else, however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 6 }), fc.array(fc.nat(70_000), { maxLength: 12 }), (frames, cuts) => {
        const bytes = Buffer.concat(frames);
        const ends = new Set([0]);
        let end = 0;
        for (const each of frames) {
          end += each.length;
          ends.add(end);
        }
        // The last bytes of the header and of the payload are where mistakes would show.
        const interesting = [...ends].flatMap((at) => [at - 1, at, at + 1, at + 2, at + 9]);
        const places = [...new Set([...cuts, ...interesting, bytes.length])]
          .filter((at) => at >= 0 && at <= bytes.length)
          .toSorted((a, b) => a - b);
        const boundary = new FrameBoundary();
        let at = 0;
        for (const place of places) {
          boundary.push(bytes.subarray(at, place));
          at = place;
          expect([place, boundary.between]).toEqual([place, ends.has(place)]);
        }
      }),
    );
  });

  it('is not behind a close frame, after which nothing may follow', () => {
    const boundary = new FrameBoundary();
    boundary.push(frame(8, 2, 7, false));
    expect(boundary.between).toBe(false);
    boundary.push(frame(1, 2, 7, false));
    expect(boundary.between).toBe(false);
  });

  it('is never within a frame whose length no buffer could hold', () => {
    const boundary = new FrameBoundary();
    boundary.push(Buffer.from([0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    for (let i = 0; i < 10; i += 1) {
      boundary.push(Buffer.alloc(1000));
      expect(boundary.between).toBe(false);
    }
  });
});
