// syslog_log_sink: the machine's own syslog daemon, through /dev/log, whether that takes datagrams
// or a stream. On the consumer's loop.
#pragma once

#include <sapwood/datagram_log_sink.hpp>
#include <sapwood/syslog_layout.hpp>

#include <memory>
#include <string>

namespace sapwood {

namespace detail {

class parts_kept;

} // namespace detail

struct syslog_log_sink_options {
    /// Of the lines it has where its output names no form.
    syslog_layout_options form = {};
    /// The daemon's socket.
    std::string path = "/dev/log";
    /// Longer records are cut: 8192 bytes are what daemons take by default.
    datagram_limits limits = {};
};

class syslog_log_sink final : public log_sink {
  public:
    explicit syslog_log_sink(syslog_log_sink_options options = {});
    ~syslog_log_sink() override;

    [[nodiscard]] task<> open() override;

    /// A daemon that has been restarted is connected to again; so is one whose socket has become
    /// one of the other kind.
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<> close() override;
    [[nodiscard]] task<> open_in_child() override;
    [[nodiscard]] std::string describe() const override;
    bool write_in_crash(std::span<const char> lines) noexcept override;
    [[nodiscard]] std::unique_ptr<log_layout> default_form() const override;

  private:
    [[nodiscard]] task<> open_way(bool in_child);
    [[nodiscard]] std::unique_ptr<log_sink> make_way(bool is_stream) const;
    void take_other_way();

    const syslog_log_sink_options options_;
    bool is_stream_ = false;
    std::unique_ptr<log_sink> way_;
    /// What a write throws that there is no memory to tell of.
    const std::unique_ptr<detail::parts_kept> untold_;
};

} // namespace sapwood
