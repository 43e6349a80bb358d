// queue_source: consumes a broker's queue into a log, and acknowledges what is kept there. The
// broker keeps everything else: while the log is full or its disk refuses records no more than the
// prefetch is held here. Connects again by itself. Loop thread only.
#pragma once

#include "intake.hpp"
#include "named_log.hpp"
#include "queue_options.hpp"

#include <sapwood/clock.hpp>
#include <sapwood/task.hpp>

#include <memory>

namespace sapwood::collector {

class queue_source {
  public:
    virtual ~queue_source() = default;

    virtual void start() = 0;

    /// Takes no more messages. What was taken is still acknowledged, when it is kept.
    virtual void stop() noexcept = 0;

    /// Behind stop(): returns when that is done; or at `until`, and then what is not acknowledged
    /// the broker has still, and delivers again.
    [[nodiscard]] virtual task<> finish(clock::time_point until) = 0;

    /// Goes on with these, on another connection where they differ; the queue and the log stay.
    virtual void change(const queue_options& options) = 0;

    [[nodiscard]] virtual const queue_options& options() const noexcept = 0;
};

/// `status` is where it says how it is. All but the options must outlive it.
[[nodiscard]] std::unique_ptr<queue_source> make_queue_source(const queue_options& options,
                                                              intake& shared, named_log& to,
                                                              queue_status& status);

} // namespace sapwood::collector
