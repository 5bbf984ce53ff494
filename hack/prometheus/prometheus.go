// Package prometheus names the module whose types define ServiceMonitor and PrometheusRule.
package prometheus

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
