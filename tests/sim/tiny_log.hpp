// A log in a hundred lines, which makes batches durable and acknowledges them, so that the
// simulator can be tested without the product: right, or with one of five mistakes. Each life and
// each failure begins a new segment, `<path>.<number>`. Loop thread only.
#pragma once

#include <sapwood/event.hpp>
#include <sapwood/file.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::simulation {

enum class mistake : std::uint8_t {
    none,
    acknowledges_before_sync,
    ignores_short_write,
    retries_sync,
    forgets_directory_sync,
    acknowledges_failed_batch,
};

class tiny_log {
  public:
    tiny_log(std::string path, mistake made) : path_(std::move(path)), mistake_(made) {}

    /// The consumer; ends after close().
    task<> run();

    /// True when the line is durable; false when it was refused.
    task<bool> append(std::string_view line);

    void close();

  private:
    struct waiting {
        std::string_view line;
        bool is_durable = false;
        event done;
    };

    task<bool> commit(const std::string& text);
    task<> begin_segment();
    task<> give_up_segment();
    void tell(std::vector<waiting*>& batch, bool is_durable);

    const std::string path_;
    const mistake mistake_;
    file segment_;
    unsigned segments_ = 0;
    std::vector<waiting*> pending_;
    std::vector<waiting*> batch_;
    event has_work_;
    bool is_closed_ = false;
};

} // namespace sapwood::simulation
