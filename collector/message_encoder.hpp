// message_encoder: a broker's message as a line of a log: its source, its id, and a record, if its
// body is one, or else text. Loop thread only.
#pragma once

#include "intake.hpp"
#include "named_log.hpp"
#include "trace_fields.hpp"

#include <sapwood/amqp/message.hpp>

#include <cstddef>
#include <span>
#include <string_view>

namespace sapwood::collector {

class message_encoder {
  public:
    /// Both must outlive it. `queue` is its name as a word.
    message_encoder(intake& shared, named_log& to, std::string_view queue);

    /// Of a message's body, that are to be held: a record's, and what compression may add to them.
    [[nodiscard]] std::size_t body_bytes_max() const noexcept {
        const std::size_t record = intake_.limits.json.record_bytes_max;
        return record + record / 1024 + 64;
    }

    /// Without its encoding, where that can be undone, and nothing where it cannot because its end
    /// is missing; until the next one is looked at, here or
    /// elsewhere in the collector.
    [[nodiscard]] std::string_view body_of(const amqp::delivery& message);

    /// It cannot be a record: it is cut.
    [[nodiscard]] bool is_too_long(const amqp::delivery& message,
                                   std::string_view body) const noexcept {
        return message.is_cut() || body.size() > intake_.limits.json.record_bytes_max;
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
