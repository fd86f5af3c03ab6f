import type { Socket } from 'node:net';

/**
 * What node's own sockets keep under these names. A socket that is made with `onread` (net.connect) reads into memory of its
 * owner's; one that was accepted cannot be made so, and takes 64 KiB of fresh memory for each read, which the collector has to
 * find again. This gives it the same afterwards, by the same means.
 */
const BUFFER = 'kBuffer';
const CALLBACK = 'kBufferCb';

/**
 * From now on the socket reads into `buffer`, and tells how many bytes of it are new; they are there during the call only.
 * There are no `data` events then; where `onRead` returns false, nothing more is read until the socket is resumed. Returns false,
 * and changes nothing, where this runtime has no such means: then there are `data` events as always.
 */
export function readInto(socket: Socket, buffer: Buffer, onRead: (count: number) => boolean): boolean {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return false;
  const useUserBuffer: unknown = Reflect.get(handle, 'useUserBuffer');
  const names = Object.getOwnPropertySymbols(socket);
  const bufferName = names.find(({ description }) => description === BUFFER);
  const callbackName = names.find(({ description }) => description === CALLBACK);
  if (typeof useUserBuffer !== 'function' || bufferName === undefined || callbackName === undefined) return false;
  Reflect.set(socket, bufferName, buffer);
  Reflect.set(socket, callbackName, onRead);
  Reflect.apply(useUserBuffer, handle, [buffer]);
  return true;
}
