// trace_fields: records of a request that says which trace it belongs to (W3C Trace Context's
// traceparent) say so themselves, as trace_id and span_id, unless they have a trace_id of their
// own. Plain functions. One thread.
#pragma once

#include "json_decoder.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::collector {

class trace_fields {
  public:
    /// `items` with the members, until the next call; as they are where `traceparent` is none. A
    /// record in which `"trace_id"` stands anywhere is as it is. Throws std::bad_alloc.
    [[nodiscard]] std::span<const json_item> added_to(std::span<const json_item> items,
                                                      std::string_view traceparent);

  private:
    std::string text_;
    std::vector<json_item> items_;
};

} // namespace sapwood::collector
