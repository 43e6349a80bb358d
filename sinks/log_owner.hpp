// What keeps a log alive: the backend, its consumer's thread, and the loggers' names and levels.
// Destroyed with the last logger, it ends the log. Any thread.
#pragma once

#include <sapwood/log_consumer.hpp>
#include <sapwood/log_write.hpp>
#include <sapwood/logger.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sapwood::detail {

class log_owner : public std::enable_shared_from_this<log_owner> {
  public:
    explicit log_owner(logger_options options);
    log_owner(const log_owner&) = delete;
    log_owner& operator=(const log_owner&) = delete;
    ~log_owner();

    /// Starts the consumer on a thread of its own. Throws what kept it from opening its outputs.
    void start_thread();

    /// On the loop that runs on this thread.
    [[nodiscard]] task<> start_here();

    [[nodiscard]] std::shared_ptr<log_core> core(std::string name);

    void set_level(const std::string& name, level threshold);

    [[nodiscard]] log_backend& backend() const noexcept { return *backend_; }

  private:
    [[nodiscard]] level threshold_of(const std::string& name) const;
    [[nodiscard]] level made_from(level shown) const noexcept;
    void read_environment();

    std::shared_ptr<log_names> names_ = std::make_shared<log_names>();
    std::shared_ptr<log_backend> backend_;
    std::shared_ptr<log_consumer> consumer_;
    std::thread thread_;
    /// The lowest level that an output keeps; off where none does.
    level keeps_from_ = level::off;

    std::mutex mutex_;
    /// What was said of a logger by its name; that of "" is for all.
    std::map<std::string, level, std::less<>> thresholds_;
    std::vector<std::weak_ptr<log_core>> cores_;
};

} // namespace sapwood::detail
