// The energy counter and clock of the CUDA device in use, through NVML (part of the driver; loaded
// when asked for).
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <cuda_runtime.h>
#include <dlfcn.h>

/// Reads both every 20 ms between start and stop, in a thread of its own: a call of NVML may take
/// many milliseconds, in which the device would run out of work.
class EnergyMeter {
 public:
  EnergyMeter() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) throw std::runtime_error("[energy] libnvidia-ml.so.1 is not there");
    auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      if (!function) throw std::runtime_error(std::string("[energy] NVML has no ") + name);
    };
    int (*init)() = nullptr;
    int (*by_bus)(const char*, void**) = nullptr;
    find(init, "nvmlInit_v2");
    find(by_bus, "nvmlDeviceGetHandleByPciBusId_v2");
    find(energy_, "nvmlDeviceGetTotalEnergyConsumption");
    find(clock_, "nvmlDeviceGetClockInfo");
    int device = 0;
    char bus[32] = "";
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetPCIBusId(bus, sizeof bus, device) != cudaSuccess || init() != 0 ||
        by_bus(bus, &device_) != 0) {
      throw std::runtime_error("[energy] NVML does not know this device");
    }
    if (!poll()) {
      throw std::runtime_error("[energy] NVML does not tell this device's energy or clock");
    }
  }
  EnergyMeter(const EnergyMeter&) = delete;
  EnergyMeter& operator=(const EnergyMeter&) = delete;
  ~EnergyMeter() { stop(); }

  /// Forgets what was read so far.
  void start() {
    stop();
    ticks_.clear();
    clocks_ = 0;
    polls_ = 0;
    running_ = true;
    thread_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      while (running_) {
        poll();
        stopped_.wait_for(lock, std::chrono::milliseconds(20), [this] { return !running_; });
      }
    });
  }

  void stop() {
    if (!thread_.joinable()) return;
    {
      std::lock_guard lock(mutex_);
      running_ = false;
    }
    stopped_.notify_one();
    thread_.join();
  }

  /// After stop: watts between the first and the last move of the counter; 0 if it moved less than
  /// twice.
  double watts() const {
    if (ticks_.size() < 2) return 0;
    return (ticks_.back().joule - ticks_[0].joule) / (ticks_.back().second - ticks_[0].second);
  }
  double mhz() const { return polls_ ? clocks_ / polls_ : 0; }

 private:
  // The counter moves in steps of up to 0.1 s, so only the moments at which it moved count.
  bool poll() {
    unsigned long long millijoule = 0;
    unsigned mhz = 0;
    if (energy_(device_, &millijoule) != 0 || clock_(device_, 1 /* multiprocessors */, &mhz) != 0) {
      return false;
    }
    clocks_ += mhz;
    ++polls_;
    double joule = static_cast<double>(millijoule) / 1e3;
    std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
    if (last_ != joule && polls_ > 1) ticks_.push_back({now.count(), joule});
    last_ = joule;
    return true;
  }

  struct Tick {
    double second, joule;
  };
  int (*energy_)(void*, unsigned long long*) = nullptr;
  int (*clock_)(void*, int, unsigned*) = nullptr;
  void* device_ = nullptr;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool running_ = false;
  std::vector<Tick> ticks_;
  double last_ = 0, clocks_ = 0;
  int polls_ = 0;
};
