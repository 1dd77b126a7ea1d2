// Bytes that the page carries: base64 of zlib, into typed arrays.
"use strict";

async function unpacked(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// A model's arrays out of one buffer: `places` are [name, "f4" or "i1", offset, length] each, a
// name such as "head.scale" being a field of a field.
function arraysOf(places, buffer) {
  const arrays = {};
  for (const [name, type, offset, length] of places) {
    const [outer, inner] = name.split(".");
    const array = new (type === "f4" ? Float32Array : Int8Array)(buffer, offset, length);
    if (inner === undefined) arrays[outer] = array;
    else arrays[outer] = { ...arrays[outer], [inner]: array };
  }
  return arrays;
}

async function modelOf(about, base64) {
  return openModel(about, arraysOf(about.places, await unpacked(base64)));
}
