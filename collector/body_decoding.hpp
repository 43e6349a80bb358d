// body_decoding: what a body is decoded with, from its Content-Encoding to its records: one at a
// time. A collector has two: one for bodies that are short in every respect, on its loop, and one
// for all others, on a thread; see http_session::take_long. What was decoded lives until forget().
#pragma once

#include "decoded_body.hpp"
#include "decompressor.hpp"
#include "http_interface.hpp"
#include "json_decoder.hpp"

#include <cstddef>
#include <vector>

namespace sapwood::collector {

struct body_decoding {
    body_decoding(const json_limits& json, const decompression_limits& decompression,
                  std::size_t made_bytes_here)
        : decoder(json),
          plain(decompression),
          foreign_body({.json = json, .made_bytes_here = made_bytes_here}) {}

    /// It is not needed any more: memory for a usual request is kept.
    void forget() noexcept;

    json_decoder decoder;
    decompressor plain;
    /// What other programs' interfaces make of a body, and its records one after the other.
    decoded_body foreign_body;
    std::vector<json_item> foreign_items;
    decoded_request decoded;
};

} // namespace sapwood::collector
