// message_encoder: a broker's message as a line of a log: its source, its id, and a record, if its
// body is one, or else text. Loop thread only.
#pragma once

#include "intake.hpp"
#include "named_log.hpp"
#include "trace_fields.hpp"

#include <sapwood/amqp/message.hpp>

#include <span>
#include <string_view>

namespace sapwood::collector {

class message_encoder {
  public:
    /// Both must outlive it.
    message_encoder(intake& shared, named_log& to, std::string_view queue);

    /// Without its encoding, where that can be undone; until the next one is looked at, here or
    /// elsewhere in the collector.
    [[nodiscard]] std::string_view body_of(const amqp::delivery& message);

    /// It cannot be a record: it is cut.
    [[nodiscard]] bool is_too_long(std::string_view body) const noexcept {
        return body.size() > intake_.limits.json.record_bytes_max;
    }

    /// `body` is what body_of() gave. Until the log's next record is encoded. Throws
    /// std::bad_alloc.
    [[nodiscard]] record_view encode(const amqp::delivery& message, std::string_view body);

  private:
    [[nodiscard]] std::span<const json_item> items_of(const amqp::delivery& message,
                                                      std::string_view body);

    intake& intake_;
    named_log& log_;
    const source from_;
    trace_fields traces_;
};

} // namespace sapwood::collector
