// What keeps a log alive: the backend, its consumer's thread, and the loggers' names and levels.
// Destroyed with the last logger, it ends the log. Any thread.
#pragma once

#include <sapwood/log_consumer.hpp>
#include <sapwood/log_write.hpp>
#include <sapwood/logger.hpp>

#include <chrono>
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

    [[nodiscard]] log_stats stats() const;

    // --- fork ---

    void lock_for_fork();
    void unlock_after_fork();

    /// In a child process, locked: the log is empty, and whoever logs first starts a consumer on a
    /// thread of its own. What the parent has not written it will write.
    void become_childs() noexcept;

    // --- exit ---

    /// Has written what there is by then.
    void flush_at_exit(std::chrono::steady_clock::time_point deadline);

    /// Writes what there is by then, and ends the log.
    void end_at_exit(std::chrono::steady_clock::time_point deadline);

    [[nodiscard]] log_backend& backend() const noexcept { return *backend_; }

  private:
    [[nodiscard]] level threshold_of(const std::string& name) const;
    [[nodiscard]] level made_from(level shown) const noexcept;
    void read_environment();
    [[nodiscard]] std::shared_ptr<log_consumer> consumer() const;
    void start_in_child() noexcept;
    void join();

    const std::string name_; // the root's
    std::shared_ptr<log_names> names_ = std::make_shared<log_names>();
    std::shared_ptr<log_backend> backend_;
    /// Changed, with mutex_ held, where a child process begins its own.
    std::shared_ptr<log_consumer> consumer_;
    bool is_parents_ = false;
    /// The lowest level that an output keeps; off where none does.
    level keeps_from_ = level::off;

    mutable std::mutex mutex_;
    std::thread thread_; // with mutex_ held
    /// What was said of a logger by its name; that of "" is for all.
    std::map<std::string, level, std::less<>> thresholds_;
    std::vector<std::weak_ptr<log_core>> cores_;
};

} // namespace sapwood::detail
